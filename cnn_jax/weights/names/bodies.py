"""How torchvision calls the parts of a backbone inside of a detector or a segmenter, below a name of its own."""

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
