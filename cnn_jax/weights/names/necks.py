"""How torchvision calls what detectors and segmenters stand on: a backbone, and `cnn_jax.models.necks.FPN`."""

from typing import Any

from cnn_jax.weights.names import mobilenet_v3, resnet

BODIES = {
    "ResNet": resnet.torchvision,
    "MobileNetV3": lambda path: mobilenet_v3.torchvision(path).removeprefix("features."),
}


def body(path: str, backbone: Any) -> str:
    """stem_conv -> conv1 of a ResNet, or 0.0 of a MobileNetV3; `backbone` is the field that builds it."""
    while inner := getattr(backbone, "build", None) or getattr(backbone, "func", None):
        backbone = inner
    return BODIES[backbone.__name__](path)


def torchvision(path: str, *, earlier: bool = False) -> str:
    """Below "backbone.fpn": inner2 -> inner_blocks.1.0, layer2_norm -> layer_blocks.1.1, p6 -> extra_blocks.p6.

    earlier: as weights published before torchvision 0.13 have it, without the last number: inner_blocks.1.
    """
    name, _, norm = path.partition("_")
    kind, level = name.rstrip("0123456789"), name.removeprefix("inner").removeprefix("layer")
    if kind not in ("inner", "layer"):
        return f"extra_blocks.{name}"
    block = f"{kind}_blocks.{int(level) - 1}"
    return block if earlier else f"{block}.{1 if norm else 0}"
