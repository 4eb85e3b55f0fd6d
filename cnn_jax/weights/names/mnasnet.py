"""How other libraries call the parts of `cnn_jax.models.mnasnet`; in timm it is an EfficientNet."""

from cnn_jax.weights.names.efficientnet import timm

__all__ = ["timm", "torchvision"]

TORCHVISION = {
    "stem": "layers.2",
    "stem_conv": "layers.0",
    "stem_norm": "layers.1",
    "stage1": "layers.7",
    "stage1_block1/depthwise_conv": "layers.3",  # the first block stands among the layers
    "stage1_block1/depthwise_norm": "layers.4",
    "stage1_block1/project_conv": "layers.6",
    "stage1_block1/project_norm": "layers.7",
    "stage8": "layers.16",
    "stage8_conv": "layers.14",
    "stage8_norm": "layers.15",
    "pooled": "",  # pooled by a function
    "classifier": "classifier.1",
}
TORCHVISION_BLOCK = {
    "expand_conv": "layers.0",
    "expand_norm": "layers.1",
    "depthwise_conv": "layers.3",
    "depthwise_norm": "layers.4",
    "project_conv": "layers.6",
    "project_norm": "layers.7",
}


def torchvision(path: str) -> str:
    """stage2_block1/expand_conv -> layers.8.0.layers.0; and stage2, the feature -> layers.8."""
    if path in TORCHVISION or not path.startswith("stage"):
        return TORCHVISION.get(path, path)
    place, _, layer = path.partition("/")
    stage, _, block = place.removeprefix("stage").partition("_block")
    name = f"layers.{int(stage) + 6}"
    if block:
        name += f".{int(block) - 1}"
    return f"{name}.{TORCHVISION_BLOCK[layer]}" if layer else name
