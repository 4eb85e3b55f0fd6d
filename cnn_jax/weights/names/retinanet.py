"""How other libraries call the parts of `cnn_jax.models.retinanet`."""

from cnn_jax.weights.names import necks, resnet

# torchvision sets it when it has loaded the weights that it publishes (COCO_V1).
FROZEN_EPSILON = {"retinanet_resnet50_fpn": 0.0}
HEADS = {"class_tower": "classification_head", "box_tower": "regression_head"}
TORCHVISION = {"classifier": "head.classification_head.cls_logits", "boxes": "head.regression_head.bbox_reg"}


def torchvision(path: str) -> str:
    """backbone/stem_conv -> backbone.body.conv1, class_tower/norm2/group -> head.classification_head.conv.1.1."""
    part, _, rest = path.partition("/")
    if part == "backbone":
        return f"backbone.body.{resnet.torchvision(rest)}"
    if part == "neck":
        return f"backbone.fpn.{necks.torchvision(rest)}"
    if part not in HEADS:
        return TORCHVISION[part]
    return f"head.{HEADS[part]}.conv.{_layer(rest)}.{int(rest.startswith('norm'))}"


def torchvision_0_12(path: str) -> str:
    """The same as it was up to version 0.12: the towers' activations are counted, too."""
    part, _, rest = path.partition("/")
    if part == "neck":
        return f"backbone.fpn.{necks.torchvision(rest, earlier=True)}"
    return f"head.{HEADS[part]}.conv.{2 * _layer(rest)}" if part in HEADS else torchvision(path)


def _layer(path: str) -> int:
    """norm2/group -> 1."""
    return int(path.partition("/")[0].removeprefix("conv").removeprefix("norm")) - 1
