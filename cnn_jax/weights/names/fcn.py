"""How torchvision calls the parts of `cnn_jax.models.fcn`."""

from typing import Any

from cnn_jax.weights.names.necks import body as _body

LAST = {"classifier": "classifier.4", "aux_classifier": "aux_classifier.4"}


def torchvision(path: str, backbone: Any) -> str:
    """backbone/stem_conv -> backbone.conv1, head/conv/norm -> classifier.1, aux/conv/conv -> aux_classifier.0."""
    part, _, rest = path.partition("/")
    if part == "backbone":
        return f"backbone.{_body(rest, backbone)}"
    if part in LAST:
        return LAST[part]
    place = {"conv/conv": "0", "conv/norm": "1"}[rest]
    return {"head": "classifier", "aux": "aux_classifier"}[part] + f".{place}"
