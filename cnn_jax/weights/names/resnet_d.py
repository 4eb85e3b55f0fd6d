"""How other libraries call the parts of `cnn_jax.models.resnet_d`, where they differ from those of `resnet`."""

from cnn_jax.weights.names import resnet

TIMM = {
    "stem_conv1": "conv1.0",
    "stem_norm1": "conv1.1",
    "stem_conv2": "conv1.3",
    "stem_norm2": "conv1.4",
    "stem_conv3": "conv1.6",
    "stem_norm3": "bn1",
    "shortcut_conv": "downsample.1",
    "shortcut_norm": "downsample.2",
}


def timm(path: str) -> str:
    """stage1_block1/shortcut_conv -> layer1.0.downsample.1; and stage1, the feature -> layer1."""
    block, _, layer = path.rpartition("/")
    if layer not in TIMM:
        return resnet.timm(path)
    return f"{resnet.timm(block)}.{TIMM[layer]}" if block else TIMM[layer]
