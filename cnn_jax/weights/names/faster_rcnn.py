"""How torchvision calls the parts of `cnn_jax.models.faster_rcnn`."""

from typing import Any

from cnn_jax.weights.names import necks
from cnn_jax.weights.names.necks import body as _body

# torchvision sets 0 when it has loaded the weights that it publishes (COCO_V1) with a ResNet; norms of version 2 learn.
FROZEN_EPSILON = {
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
    "maskrcnn_resnet50_fpn": 0.0,
}
FLATTENED = {"box_head/hidden1": (256, 7, 7)}
RPN = {"objectness": "cls_logits", "boxes": "bbox_pred"}
TORCHVISION = {
    "scores": "roi_heads.box_predictor.cls_score",
    "boxes": "roi_heads.box_predictor.bbox_pred",
    "masks": "roi_heads.mask_predictor.mask_fcn_logits",
}


def torchvision(path: str, backbone: Any, head: Any) -> str:
    """backbone/stem_conv -> backbone.body.conv1, rpn/conv2 -> rpn.head.conv.1.0, box_head/norm2 -> ....box_head.1.1."""
    part, _, rest = path.partition("/")
    if part == "backbone":
        return f"backbone.body.{_body(rest, backbone)}"
    if part == "neck":
        return f"backbone.fpn.{necks.torchvision(rest)}"
    kind, number = rest.rstrip("0123456789"), int(rest.lstrip("abcdefghijklmnopqrstuvwxyz") or 1) - 1
    if part == "rpn":
        return f"rpn.head.{RPN.get(kind, f'conv.{number}.0')}"
    if part == "box_head":
        convolutions = getattr(head, "keywords", {}).get("convolutions", 0)
        if kind != "hidden":
            name = f"{number}.{int(kind == 'norm')}"
        else:  # in a sequence with the convolutions, behind what flattens the map; or on their own
            name = str(convolutions + 1 + 2 * number) if convolutions else f"fc{6 + number}"
        return f"roi_heads.box_head.{name}"
    if part == "mask_head":
        up = "roi_heads.mask_predictor.conv5_mask"
        return up if kind == "up" else f"roi_heads.mask_head.{number}.{int(kind == 'norm')}"
    return TORCHVISION[rest]  # of the classifier


def torchvision_0_12(path: str, backbone: Any, head: Any) -> str:
    """The same as it was up to version 0.12, with other names of convolutions: rpn/conv1 -> rpn.head.conv."""
    part, _, rest = path.partition("/")
    if part == "neck":
        return f"backbone.fpn.{necks.torchvision(rest, earlier=True)}"
    if path == "rpn/conv1":
        return "rpn.head.conv"
    if part == "mask_head" and rest != "up":
        return f"roi_heads.mask_head.{rest.replace('conv', 'mask_fcn')}"
    return torchvision(path, backbone, head)
