"""How torchvision calls the parts of `cnn_jax.models.deeplabv3`."""

from typing import Any

from cnn_jax.weights.names import fcn

PLACE = {"conv": 0, "norm": 1}
POOLED = 4  # of the branches; its first module is the mean


def torchvision(path: str, backbone: Any) -> str:
    """head/aspp/branch2/conv -> classifier.0.convs.1.0, head/conv/norm -> classifier.2; all else as in `fcn`."""
    part, _, rest = path.partition("/")
    if part != "head":
        return fcn.torchvision(path, backbone)
    *outer, name, layer = rest.split("/")
    if not outer:
        return f"classifier.{1 + PLACE[layer]}"
    if name == "project":
        return f"classifier.0.project.{PLACE[layer]}"
    if name == "pooled":
        return f"classifier.0.convs.{POOLED}.{1 + PLACE[layer]}"
    return f"classifier.0.convs.{int(name.removeprefix('branch')) - 1}.{PLACE[layer]}"
