"""How other libraries call the parts of `cnn_jax.models.convnext`."""

import re
from collections.abc import Callable, Mapping

TOP = {
    "stem_conv": "stem.0",
    "stem_norm": "stem.1",
    "stem": "stem",
    "norm": "head.norm",
    "pooled": "head.flatten",  # what comes after the pooling and the norm
    "classifier": "head.fc",
}
LAYERS = {
    "depthwise": "conv_dw",
    "norm": "norm",
    "expand": "mlp.fc1",
    "response_norm": "mlp.grn",
    "project": "mlp.fc2",
}
DOWNSAMPLE = {"norm": 0, "conv": 1}


def timm(path: str) -> str:
    """stage1_block2/expand -> stages.0.blocks.1.mlp.fc1; and stage1, the feature -> stages.0."""
    return _name(
        path,
        TOP,
        LAYERS,
        stage=lambda i: f"stages.{i - 1}",
        block=lambda i, j: f"stages.{i - 1}.blocks.{j - 1}",
        downsample=lambda i: f"stages.{i - 1}.downsample",
    )


TORCHVISION = {
    "stem": "features.0",
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "norm": "classifier.0",
    "pooled": "classifier.1",
    "classifier": "classifier.2",
}
TORCHVISION_LAYERS = {"depthwise": "block.0", "norm": "block.2", "expand": "block.3", "project": "block.5"}


def torchvision(path: str) -> str:
    """stage1_block2/expand -> features.1.1.block.3; and stage1, the feature -> features.1. Of version 1 only."""
    return _name(
        path,
        TORCHVISION,
        TORCHVISION_LAYERS,
        stage=lambda i: f"features.{2 * i - 1}",
        block=lambda i, j: f"features.{2 * i - 1}.{j - 1}",
        downsample=lambda i: f"features.{2 * i - 2}",
    )


torchvision.leaves = {"gamma": "layer_scale"}  # type: ignore[attr-defined]  # timm calls it as we do


def _name(
    path: str,
    top: Mapping[str, str],
    layers: Mapping[str, str],
    *,
    stage: Callable[[int], str],
    block: Callable[[int, int], str],
    downsample: Callable[[int], str],
) -> str:
    """The name of a part: one of `top`, or of a stage, a block in it or the downsampling before it, from 1 on."""
    if path in top:
        return top[path]
    if found := re.fullmatch(r"downsample(\d)_(conv|norm)", path):
        return f"{downsample(int(found[1]))}.{DOWNSAMPLE[found[2]]}"
    if found := re.fullmatch(r"stage(\d)", path):
        return stage(int(found[1]))
    place, _, layer = path.partition("/")  # the layer scale lies in the block itself
    number, position = place.removeprefix("stage").split("_block")
    return block(int(number), int(position)) + (f".{layers[layer]}" if layer else "")
