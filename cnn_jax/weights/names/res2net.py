"""How other libraries call the parts of `cnn_jax.models.res2net`, where they differ from those of `resnet`."""

from cnn_jax.weights.names import resnet

SCALES = {"conv2": "convs", "norm2": "bns"}


def timm(path: str) -> str:
    """stage1_block1/conv2_1 -> layer1.0.convs.0; and stage1, the feature -> layer1."""
    block, _, layer = path.rpartition("/")
    kind, _, scale = layer.partition("_")
    return f"{resnet.timm(block)}.{SCALES[kind]}.{int(scale) - 1}" if kind in SCALES and scale else resnet.timm(path)
