"""The half of `segmentation.py` that is PyTorch's, as a process of its own, which `segmentation.py` starts.

Defaults of torch everywhere: this is what a user of PyTorch would write.
"""

import copy
import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from child import Modes, serve
from on_torch import UNet
from torch import Tensor, nn
from torch.nn import functional as F

from cnn_jax.ops.sliding_window import shares, starts

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Modes]:
    torch.set_num_threads(job["threads"])
    arrays = dict(np.load(job["file"]))
    image, truth = (torch.from_numpy(arrays.pop(name)) for name in ("image", "class_map"))
    net = UNet(image.shape[-1], job["classes"], job["features"], job["levels"])
    fill(net, arrays)
    image, truth = image.permute(0, 3, 1, 2), truth.long()
    modes: Modes = {}
    for name, form in FORMATS.items():
        own = copy.deepcopy(net).to(memory_format=form)  # type: ignore[call-overload]
        if job["window"]:
            modes |= {
                f"{name}, {count} at a time": partial(predict, own.eval(), image, job["window"], count, form)
                for count in (1, 4)
            }
        else:
            modes[name] = training(own, image, truth, form)
    if job["window"]:
        found = classes(net.eval(), image, job["window"], 1, torch.contiguous_format).numpy()
    else:
        with torch.no_grad():
            found = np.asarray(F.cross_entropy(net(image.float() / 255), truth).item())
    file = Path(job["file"]).with_name("found.npy")
    np.save(file, found)
    return {"version": f"torch {torch.__version__}", "found": str(file)}, modes


def fill(net: UNet, arrays: Mapping[str, np.ndarray]) -> None:
    """Gives the network the weights of this project's, by the names that they have there."""
    left = dict(arrays)

    def put(tensor: nn.Parameter, name: str, *axes: int) -> None:
        array = left.pop(name)
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(array.transpose(axes) if axes else array))

    def put_all(module: nn.Module, name: str, *axes: int) -> None:
        put(module.weight, f"{name}/kernel", *axes)  # type: ignore[arg-type]
        if module.bias is not None:
            put(module.bias, f"{name}/bias")  # type: ignore[arg-type]

    levels = len(net.down)
    doubles = [(f"stage{level + 1}", double) for level, double in enumerate(net.down)]
    doubles += [(f"up{levels - 1 - k}", double) for k, double in enumerate(net.up)]
    for (name, double), i in itertools.product(doubles, (1, 2)):
        conv, norm = double[i - 1][:2]  # type: ignore[index]
        put_all(conv, f"{name}/conv{i}", 3, 2, 0, 1)
        put(norm.weight, f"{name}/norm{i}/scale")
        put(norm.bias, f"{name}/norm{i}/bias")
    for k, grow in enumerate(net.grow):
        put_all(grow, f"up{levels - 1 - k}_conv", 2, 3, 0, 1)
    put_all(net.classifier, "classifier", 3, 2, 0, 1)
    if left:
        raise ValueError(f"the network has no {', '.join(left)}")


def training(net: UNet, image: Tensor, truth: Tensor, form: torch.memory_format) -> Any:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)

    def train(steps: int) -> None:
        net.train()
        for _ in range(steps):
            optimizer.zero_grad()
            x = (image.float() / 255).contiguous(memory_format=form)
            F.cross_entropy(net(x), truth).backward()
            optimizer.step()

    return train


def predict(net: UNet, image: Tensor, window: int, count: int, form: torch.memory_format, steps: int) -> None:
    for _ in range(steps):
        classes(net, image, window, count, form)


@torch.inference_mode()
def classes(net: UNet, image: Tensor, window: int, count: int, form: torch.memory_format) -> Tensor:
    """The class of each pixel of an image [1, C, H, W], by windows of which `count` at a time are computed."""
    x = image.float() / 255
    axes = [(starts(size, window).tolist(), torch.from_numpy(shares(size, window))) for size in x.shape[2:]]
    (tops, down), (lefts, across) = axes
    total = torch.zeros(net.classifier.out_channels, *x.shape[2:])
    for some in chunks(list(itertools.product(range(len(tops)), range(len(lefts)))), count):
        parts = [x[..., tops[i] : tops[i] + window, lefts[j] : lefts[j] + window] for i, j in some]
        for logits, (i, j) in zip(net(torch.cat(parts).contiguous(memory_format=form)), some, strict=True):
            logits *= down[i][:, None] * across[j]
            total[:, tops[i] : tops[i] + window, lefts[j] : lefts[j] + window] += logits
    return total.argmax(0, keepdim=True).to(torch.uint8)


def chunks(places: list[tuple[int, int]], count: int) -> Iterator[list[tuple[int, int]]]:
    for first in range(0, len(places), count):
        yield places[first : first + count]


if __name__ == "__main__":
    serve(prepare)
