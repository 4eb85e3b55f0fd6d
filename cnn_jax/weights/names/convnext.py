"""How other libraries call the parts of `cnn_jax.models.convnext`."""

import re

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
    if path in TOP:
        return TOP[path]
    if found := re.fullmatch(r"downsample(\d)_(conv|norm)", path):
        return f"stages.{int(found[1]) - 1}.downsample.{DOWNSAMPLE[found[2]]}"
    if found := re.fullmatch(r"stage(\d)", path):
        return f"stages.{int(found[1]) - 1}"
    block, _, layer = path.partition("/")  # the layer scale lies in the block itself
    stage, number = block.removeprefix("stage").split("_block")
    return f"stages.{int(stage) - 1}.blocks.{int(number) - 1}" + (f".{LAYERS[layer]}" if layer else "")


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
    if path in TORCHVISION:
        return TORCHVISION[path]
    if found := re.fullmatch(r"downsample(\d)_(conv|norm)", path):
        return f"features.{2 * int(found[1]) - 2}.{DOWNSAMPLE[found[2]]}"
    if found := re.fullmatch(r"stage(\d)", path):
        return f"features.{2 * int(found[1]) - 1}"
    block, _, layer = path.partition("/")
    stage, number = block.removeprefix("stage").split("_block")
    return f"features.{2 * int(stage) - 1}.{int(number) - 1}" + (f".{TORCHVISION_LAYERS[layer]}" if layer else "")


torchvision.leaves = {"gamma": "layer_scale"}  # type: ignore[attr-defined]  # timm calls it as we do
