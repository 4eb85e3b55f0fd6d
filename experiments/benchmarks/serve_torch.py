"""The networks of `serve.py` in plain PyTorch, eager, for one image; it starts this file as a process of its own."""

import copy
from functools import partial
from typing import Any

import torch
from child import Modes, serve
from on_torch import Residual, conv_norm, resnet
from torch import Tensor, nn

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# Tan & Le 2019, table 1, as EfficientNet-Lite0 has it: factor, features, blocks, stride of the first, window
STAGES = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5)]


def efficientnet_lite0() -> nn.Module:
    layers, c = [conv_norm(3, 32, 3, 2, act=nn.ReLU6())], 32
    for factor, d, count, first, window in [*STAGES, (6, 320, 1, 1, 3)]:
        for i in range(count):
            stride, hidden = (first if i == 0 else 1), c * factor
            path = nn.Sequential(
                *([conv_norm(c, hidden, 1, act=nn.ReLU6())] if factor > 1 else []),
                conv_norm(hidden, hidden, window, stride, groups=hidden, act=nn.ReLU6()),
                conv_norm(hidden, d, 1),
            )
            layers.append(Residual(path, nn.Identity(), nn.Identity()) if (c, stride) == (d, 1) else path)
            c = d
    layers.append(conv_norm(c, 1280, 1, act=nn.ReLU6()))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


NETS = {
    "ResNet-50": partial(resnet, 3, 1000, blocks=(3, 4, 6, 3), bottleneck=True, large=True),
    "EfficientNet-Lite0": efficientnet_lite0,
}


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Modes]:
    torch.set_num_threads(job["threads"])
    net = NETS[job["net"]]().eval()
    image = torch.randint(256, (1, job["side"], job["side"], 3), dtype=torch.uint8)
    modes: Modes = {}
    for name, form in FORMATS.items():
        own = copy.deepcopy(net).to(memory_format=form)  # type: ignore[call-overload]
        modes[name] = partial(_predict, own, image, form)
    return {"version": f"torch {torch.__version__}", "params": sum(p.numel() for p in net.parameters())}, modes


@torch.inference_mode()
def _predict(net: nn.Module, image: Tensor, form: torch.memory_format, steps: int) -> None:
    """The logits of bytes [1, H, W, 3], scaled and normalised, as NumPy's."""
    for _ in range(steps):
        x = ((image.float() / 255 - 0.5) / 0.3).permute(0, 3, 1, 2).contiguous(memory_format=form)
        net(x).numpy()


if __name__ == "__main__":
    serve(prepare)
