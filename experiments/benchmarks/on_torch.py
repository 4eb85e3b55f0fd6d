"""The networks of `step.py` in plain PyTorch, eager; it starts this file as a process of its own.

Layer for layer the same networks: `step.py` stops unless parameters and multiply-adds are equal. Defaults of
torch everywhere (initialisation, SGD), so these are the networks that a user of PyTorch would write.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from child import Modes, serve
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode


def conv_norm(c: int, d: int, kernel: int, stride: int = 1, groups: int = 1, act: nn.Module | None = None) -> nn.Module:
    conv = nn.Conv2d(c, d, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(d), *([act] if act else []))


def mnist_cnn(channels: int, size: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (size // 4) ** 2, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


class ZeroPadding(nn.Module):
    """The shortcut of the CIFAR networks: every `stride`-th position, and zeros for new channels, half on each side."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


class Residual(nn.Module):
    def __init__(self, path: nn.Module, shortcut: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut, self.act = path, shortcut, act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.path(x) + self.shortcut(x))


def resnet(
    channels: int,
    classes: int,
    *,
    blocks: tuple[int, ...],
    features: int = 64,
    bottleneck: bool = False,
    project: bool = True,
    large: bool = False,
) -> nn.Module:
    if large:
        layers = [conv_norm(channels, features, 7, 2, act=nn.ReLU()), nn.MaxPool2d(3, 2, 1)]
    else:
        layers = [conv_norm(channels, features, 3, act=nn.ReLU())]
    c = features
    for stage, count in enumerate(blocks):
        width = features * 2**stage
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            d = 4 * width if bottleneck else width
            if bottleneck:
                path = nn.Sequential(
                    conv_norm(c, width, 1, act=nn.ReLU()),
                    conv_norm(width, width, 3, stride, act=nn.ReLU()),
                    conv_norm(width, d, 1),
                )
            else:
                path = nn.Sequential(conv_norm(c, width, 3, stride, act=nn.ReLU()), conv_norm(width, d, 3))
            changed = conv_norm(c, d, 1, stride) if project else ZeroPadding(d - c, stride)
            layers.append(Residual(path, nn.Identity() if (c, stride) == (d, 1) else changed, nn.ReLU()))
            c = d
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


def mobilenet_v2(channels: int, classes: int, strides: tuple[int, ...]) -> nn.Module:
    """`strides` of the stem and of the seven stages (Sandler et al. 2018, table 2)."""
    layers, c = [conv_norm(channels, 32, 3, strides[0], act=nn.ReLU6())], 32
    stages = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    for (expand, d, count), first in zip(stages, strides[1:], strict=True):
        for i in range(count):
            stride, hidden = (first if i == 0 else 1), c * expand
            path = nn.Sequential(
                *([conv_norm(c, hidden, 1, act=nn.ReLU6())] if expand > 1 else []),
                conv_norm(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6()),
                conv_norm(hidden, d, 1),
            )
            layers.append(Residual(path, nn.Identity(), nn.Identity()) if (c, stride) == (d, 1) else path)
            c = d
    layers.append(conv_norm(c, 1280, 1, act=nn.ReLU6()))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, classes))


def m5(channels: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for c, d, kernel, stride in ((channels, 128, 80, 4), (128, 128, 3, 1), (128, 256, 3, 1), (256, 512, 3, 1)):
        layers += [nn.Conv1d(c, d, kernel, stride, (kernel - 1) // 2), nn.BatchNorm1d(d), nn.ReLU()]
        layers.append(nn.MaxPool1d(4, ceil_mode=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(512, classes))


def double_conv(c: int, d: int) -> nn.Module:
    return nn.Sequential(conv_norm(c, d, 3, act=nn.ReLU()), conv_norm(d, d, 3, act=nn.ReLU()))


class UNet(nn.Module):
    def __init__(self, channels: int, classes: int, features: int = 16, levels: int = 5) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(levels)]
        self.down = nn.ModuleList(double_conv(c, d) for c, d in zip([channels, *widths], widths, strict=False))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * d, d, 2, 2) for d in widths[-2::-1])
        self.up = nn.ModuleList(double_conv(2 * d, d) for d in widths[-2::-1])
        self.classifier = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for level, double in enumerate(self.down):
            maps.append(x := double(F.max_pool2d(x, 2) if level else x))
        maps.pop()
        for grow, double in zip(self.grow, self.up, strict=True):
            x = double(torch.cat([maps.pop(), grow(x)], 1))
        return self.classifier(x)


def build(workload: str, shape: list[int], classes: int) -> nn.Module:
    """The network of `workload` for channels-last examples of `shape`."""
    size, channels = shape[0], shape[-1]
    nets: dict[str, Callable[[], nn.Module]] = {
        "mnist_cnn": lambda: mnist_cnn(channels, size, classes),
        "resnet18": lambda: resnet(channels, classes, blocks=(2, 2, 2, 2)),
        "resnet20": lambda: resnet(channels, classes, blocks=(3, 3, 3), features=16, project=False),
        "mobilenet_v2": lambda: mobilenet_v2(channels, classes, (1, 1, 1, 2, 2, 1, 2, 1)),
        "resnet50": lambda: resnet(channels, classes, blocks=(3, 4, 6, 3), bottleneck=True, large=True),
        "m5": lambda: m5(channels, classes),
        "unet": lambda: UNet(channels, classes),
    }
    return nets[workload]()


def counts(net: nn.Module, x: Tensor) -> dict[str, int]:
    """Trainable numbers, and multiply-adds for one example such as x [1, C, ...]."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net.eval()(x)
    return {"params": sum(p.numel() for p in net.parameters()), "macs": counter.get_total_flops() // 2}


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Modes]:
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    batch, (*spatial, channels) = job["batch"], job["shape"]
    net = build(job["workload"], job["shape"], job["classes"])
    x = torch.randn(batch, channels, *spatial)
    facts = {"version": f"torch {torch.__version__}", **counts(net, x[:1])}
    if job["variant"] == "channels_last":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        label_shape = net(x[:1]).shape[2:]
    y = torch.randint(job["classes"], (batch, *label_shape))
    autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=job["precision"] == "bfloat16")
    optimizer = torch.optim.SGD(net.parameters(), lr=job["lr"], momentum=0.9)

    def train(steps: int) -> None:
        net.train()
        for _ in range(steps):
            optimizer.zero_grad()
            with autocast():
                loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()

    @torch.inference_mode()
    def forward(steps: int) -> None:
        net.eval()
        with autocast():
            for _ in range(steps):
                net(x)

    return facts, {"train": train, "forward": forward, "product": partial(product, job["product"])}


def product(size: int, steps: int) -> None:
    """Products of two [size, size] matrices."""
    x, y = matrices(size)
    for _ in range(steps):
        x @ y


@cache
def matrices(size: int) -> Tensor:
    return torch.randn(2, size, size)


if __name__ == "__main__":
    serve(prepare)
