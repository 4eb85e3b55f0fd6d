"""How other libraries call the parts of `cnn_jax.models.fcos`."""

from cnn_jax.weights.names import necks, retinanet

FROZEN_EPSILON = {"fcos_resnet50_fpn": 1e-5}
CENTERNESS = "head.regression_head.bbox_ctrness"


def torchvision(path: str) -> str:
    """class_tower/norm2/group -> head.classification_head.conv.4: convolutions, norms and activations are counted."""
    part, _, rest = path.partition("/")
    if part in retinanet.HEADS:
        layer = rest.partition("/")[0]
        number = 3 * (int(layer.removeprefix("conv").removeprefix("norm")) - 1)
        return f"head.{retinanet.HEADS[part]}.conv.{number + layer.startswith('norm')}"
    return CENTERNESS if part == "centerness" else retinanet.torchvision(path)


def torchvision_0_12(path: str) -> str:
    """The same with the pyramid's names up to version 0.12."""
    part, _, rest = path.partition("/")
    return f"backbone.fpn.{necks.torchvision(rest, earlier=True)}" if part == "neck" else torchvision(path)
