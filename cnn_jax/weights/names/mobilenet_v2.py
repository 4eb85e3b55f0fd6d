"""How other libraries call the parts of `cnn_jax.models.mobilenet_v2`; in timm it is an EfficientNet."""

from cnn_jax.weights.names.efficientnet import timm

__all__ = ["timm", "torchvision"]

BLOCKS = (1, 2, 3, 4, 3, 3, 1)
TORCHVISION = {
    "stem": "features.0",
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "stage8": "features.18",
    "stage8_conv": "features.18.0",
    "stage8_norm": "features.18.1",
    "pooled": "",  # pooled by a function
    "classifier": "classifier.1",
}
TORCHVISION_BLOCK = {
    "expand_conv": "conv.0.0",
    "expand_norm": "conv.0.1",
    "depthwise_conv": "conv.1.0",
    "depthwise_norm": "conv.1.1",
    "project_conv": "conv.2",
    "project_norm": "conv.3",
}
TORCHVISION_FIRST = {  # the first block does not expand
    "depthwise_conv": "conv.0.0",
    "depthwise_norm": "conv.0.1",
    "project_conv": "conv.1",
    "project_norm": "conv.2",
}


def torchvision(path: str) -> str:
    """stage2_block1/expand_conv -> features.2.conv.0.0; and stage2, the feature -> features.3: blocks are numbered."""
    place, _, layer = path.partition("/")
    stage, _, block = place.removeprefix("stage").partition("_block")
    if not stage.isdecimal():
        return TORCHVISION.get(place, place)
    if place in TORCHVISION:
        return TORCHVISION[place]
    if not block:
        return f"features.{sum(BLOCKS[: int(stage)])}"
    name = f"features.{sum(BLOCKS[: int(stage) - 1]) + int(block)}"
    return f"{name}.{(TORCHVISION_FIRST if stage == '1' else TORCHVISION_BLOCK)[layer]}" if layer else name
