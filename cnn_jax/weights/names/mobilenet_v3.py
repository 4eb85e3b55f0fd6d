"""How other libraries call the parts of `cnn_jax.models.mobilenet_v3`."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from cnn_jax.weights.names.efficientnet import EPSILON, TIMM_BLOCK, TIMM_FIRST, TIMM_SQUEEZE

__all__ = ["EPSILON", "timm", "torchvision"]

TORCHVISION = {
    "stem": "features.0",
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "pooled": "avgpool",
    "hidden": "classifier.0",
    "classifier": "classifier.3",
}
LAYERS = ("expand", "depthwise", "squeeze", "project")  # of a block


def torchvision(path: str) -> str:
    """block2/expand_conv -> features.2.block.0.0; and block3, the feature -> features.3."""
    place, _, layer = path.partition("/")
    if not place.startswith("block"):
        return TORCHVISION.get(place, place)
    block, _, part = place.removeprefix("block").partition("_")
    name = f"features.{block}"
    if part in ("conv", "norm"):  # of the convolution behind the blocks
        return f"{name}.{_position(part)}"
    if not layer:
        return name
    layers = [kind for kind in LAYERS if kind != "squeeze" or part == "squeezed"]
    if block == "1":
        layers.remove("expand")  # the first block does not widen its input
    kind, _, part = layer.replace("/", "_").partition("_")
    return f"{name}.block.{layers.index(kind)}" + (f".{_position(part)}" if part else "")


def _position(part: str) -> str:
    return {"conv": "0", "norm": "1", "reduce": "fc1", "expand": "fc2"}[part]


TIMM = {"stem": "bn1", "stem_conv": "conv_stem", "stem_norm": "bn1", "pooled": "global_pool", "hidden": "conv_head"}


def timm(path: str, rows: Sequence[Any]) -> str:
    """block2/expand_conv -> blocks.1.0.conv_pw; and block3, the feature -> blocks.1: stages are rows of one width."""
    place, _, layer = path.partition("/")
    if not place.startswith("block"):
        return TIMM.get(place, place)
    number, _, part = place.removeprefix("block").partition("_")
    sizes = [len(list(stage)) for _, stage in groupby(rows, lambda row: row.features)]
    if int(number) > len(rows):  # the convolution behind the blocks
        return f"blocks.{len(sizes)}.0" + {"": "", "conv": ".conv", "norm": ".bn1"}[part]
    stage = next(stage for stage in range(len(sizes)) if int(number) <= sum(sizes[: stage + 1]))
    if not layer:
        return f"blocks.{stage}"
    table = (TIMM_FIRST if number == "1" else TIMM_BLOCK) | TIMM_SQUEEZE
    return f"blocks.{stage}.{int(number) - 1 - sum(sizes[:stage])}.{table[layer]}"
