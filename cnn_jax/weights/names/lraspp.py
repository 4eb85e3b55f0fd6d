"""How torchvision calls the parts of `cnn_jax.models.lraspp`."""

from typing import Any

from cnn_jax.weights.names.necks import body as _body

TORCHVISION = {
    "high/conv": "classifier.cbr.0",
    "high/norm": "classifier.cbr.1",
    "scale": "classifier.scale.1",
    "classifier/low": "classifier.low_classifier",
    "classifier/high": "classifier.high_classifier",
}


def torchvision(path: str, backbone: Any) -> str:
    """backbone/block2/expand_conv -> backbone.2.block.0.0, high/conv -> classifier.cbr.0."""
    part, _, rest = path.partition("/")
    return f"backbone.{_body(rest, backbone)}" if part == "backbone" else TORCHVISION[path]
