"""Two small detectors of two stages, ours and torchvision's with the same made-up weights, and what torchvision says.

`python tests/models/two_stages.py` stores the latter anew; it needs PyTorch and torchvision.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.detector import Objects
from cnn_jax.models.faster_rcnn import FasterRCNN
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.necks import FPN, at_strides
from cnn_jax.models.resnet import ResNet
from cnn_jax.models.roi_heads import BoxHead, MaskHead
from cnn_jax.models.rpn import Keep
from cnn_jax.weights.convert import to_variables
from cnn_jax.weights.parity import all_made_up
from cnn_jax.weights.schemes import schemes

STORED = Path(__file__).with_suffix(".npz")
CLASSES, WIDTH = 5, 16
# What brings the outputs of made-up weights to the size of a trained detector's.
GAINS = {
    "first": {"cls_logits": 0.25, "rpn.head.bbox_pred": 0.0625, "cls_score": 0.5, "predictor.bbox_pred": 0.5},
    "second": {"cls_logits": 0.25, "rpn.head.bbox_pred": 0.0625, "cls_score": 0.5, "predictor.bbox_pred": 0.5},
}


def first_ones(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """For `draw`: the sample is the first ones of each kind, which torchvision can be made to take too."""
    del key
    return -jnp.arange(shape[0], dtype=jnp.float32)


def ours(name: str) -> FasterRCNN:
    """ "first": with masks, as the first version; "second": as the second, on two maps, with few proposals."""
    common = partial(
        FasterRCNN,
        classes=CLASSES,
        backbone=partial(ResNet, blocks=(1, 1, 1, 1)),
        neck=partial(FPN, WIDTH),
        draw=first_ones,
    )
    if name == "first":
        return common(head=partial(BoxHead, width=32), mask_head=MaskHead)
    return common(
        maps=partial(at_strides, strides=(16, 32)),
        neck_norm=BatchNorm,
        anchor_sizes=((32, 64, 128, 256, 512),) * 3,
        depth=2,
        head=partial(BoxHead, width=32, norm=BatchNorm, convolutions=4, dense=1),
        mask_head=partial(MaskHead, norm=BatchNorm),
        keep=Keep(60, 50, 0.05),
    )


def variables(name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    module = ours(name)
    scheme = schemes("faster_rcnn", module)["torchvision"]
    flattened = {"box_head/hidden1": (WIDTH, 7, 7)}
    return to_variables(module, (64, 64, 3), tensors(name, shapes), scheme.names, flattened)


def tensors(name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    made = all_made_up(shapes, calm=False)
    for part, gain in GAINS[name].items():
        made |= {key: np.float32(gain) * value for key, value in made.items() if f"{part}.weight" in key}
    return made


def images() -> tuple[np.ndarray, np.ndarray]:
    """Noise [B, H, W, C] as the model reads it, 0 beyond the content [B, 4]; there are no objects in the last one."""
    content = np.array([[0, 0, 128, 96], [0, 0, 101, 96], [0, 0, 96, 70]], np.float32)
    x = np.random.RandomState(0).standard_normal((3, 96, 128, 3)).astype(np.float32)
    for image, (_, _, width, height) in zip(x, content.astype(int), strict=True):
        image[height:], image[:, width:] = 0, 0
    return x, content


def objects() -> Objects:
    """Of `images`, padded to four; those of an image do not overlap where it has masks."""
    boxes = np.zeros((3, 4, 4), np.float32)
    boxes[0, :3] = [[10, 12, 50, 70], [60, 20, 120, 95.5], [3, 3, 4, 4]]
    boxes[1, :1] = [[30, 30, 64, 60]]
    labels = np.array([[0, 4, 2, -1], [1, -1, -1, -1], [-1] * 4])
    instances = np.zeros((3, 96, 128), np.int32)
    y, x = np.mgrid[:96, :128]
    for image, of_image in enumerate(boxes):
        for place, (x0, y0, x1, y1) in enumerate(of_image.astype(int)):
            inside = (y >= y0) & (y < y1) & (x >= x0) & (x < x1) & ((x + 2 * y) % 7 > 1)
            instances[image][inside] = place + 1
    return Objects(boxes, labels, labels >= 0, np.zeros_like(labels, bool), np.ones(3, np.float32), instances)


def theirs(name: str) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """torchvision's module with the same weights, and the shapes of its tensors."""
    import torch
    from torch import nn
    from torchvision.models.detection import backbone_utils, faster_rcnn, mask_rcnn, rpn
    from torchvision.models.resnet import BasicBlock
    from torchvision.models.resnet import ResNet as TheirResNet

    torch.set_num_threads(1)
    used = (1, 2, 3, 4) if name == "first" else (3, 4)
    norm = None if name == "first" else nn.BatchNorm2d
    backbone = backbone_utils.BackboneWithFPN(
        TheirResNet(BasicBlock, [1, 1, 1, 1]),
        {f"layer{stage}": str(place) for place, stage in enumerate(used)},
        [32 * 2**stage for stage in used],
        WIDTH,
        norm_layer=norm,
    )
    settings: dict[str, Any] = {
        "box_predictor": faster_rcnn.FastRCNNPredictor(32, 1 + CLASSES),
        "mask_head": mask_rcnn.MaskRCNNHeads(WIDTH, (WIDTH,) * 4, 1, norm_layer=norm),
        "mask_predictor": mask_rcnn.MaskRCNNPredictor(WIDTH, WIDTH, 1 + CLASSES),
    }
    if name == "first":
        settings["box_head"] = faster_rcnn.TwoMLPHead(WIDTH * 49, 32)
    else:
        anchors = rpn.AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
        settings |= {
            "rpn_anchor_generator": anchors,
            "rpn_head": rpn.RPNHead(WIDTH, 15, conv_depth=2),
            "box_head": faster_rcnn.FastRCNNConvFCHead((WIDTH, 7, 7), [WIDTH] * 4, [32], norm_layer=norm),
            "rpn_pre_nms_top_n_test": 60,
            "rpn_post_nms_top_n_test": 50,
            "rpn_score_thresh": 0.05,
        }
    model = mask_rcnn.MaskRCNN(backbone, **settings)
    state = model.state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}
    for key, value in tensors(name, shapes).items():
        state[key].copy_(torch.from_numpy(value))
    return model.eval(), shapes


class First:
    """In place of torchvision's sampler: takes the first ones."""

    def __init__(self, most: int, share: float) -> None:
        self.most, self.positives = most, int(most * share)

    def __call__(self, matched: Any) -> Any:
        import torch

        def taken(kind: Any, most: int) -> Any:
            return kind & (torch.cumsum(kind, 0) <= most)

        good = [taken(x >= 1, self.positives) for x in matched]
        bad = [taken(x == 0, self.most - int(one.sum())) for x, one in zip(matched, good, strict=True)]
        return good, bad


def results(name: str) -> dict[str, np.ndarray]:
    """What torchvision finds in `images`, image after image, and its losses."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    model, shapes = theirs(name)
    x, content = images()
    sizes = [(int(height), int(width)) for _, _, width, height in content]
    listed = ImageList(torch.from_numpy(x.transpose(0, 3, 1, 2)), sizes)
    found: dict[str, Any] = {
        "shapes": np.array([f"{key} {' '.join(map(str, shape))}" for key, shape in shapes.items()])
    }
    what = objects()
    targets = [
        {
            "boxes": torch.from_numpy(np.array(boxes[:count])),
            "labels": torch.from_numpy(labels[:count] + 1).long(),
            "masks": torch.from_numpy(np.stack([instances == 1 + i for i in range(4)])[:count].astype(np.uint8)),
        }
        for boxes, labels, instances, count in zip(
            what.boxes, np.asarray(what.labels), what.instances, (3, 1, 0), strict=True
        )
    ]
    with torch.no_grad():
        maps = model.backbone(listed.tensors)
        proposals, _ = model.rpn(listed, maps)
        found["proposals"] = np.array([len(boxes) for boxes in proposals])
        detected, _ = model.roi_heads(maps, proposals, sizes)
        for key in ("boxes", "scores", "labels"):
            found[key] = np.concatenate([image[key].numpy() for image in detected])
        found["counts"] = np.array([len(image["boxes"]) for image in detected])
        found["masks"] = np.concatenate([image["masks"].numpy()[:, 0].mean((1, 2)) for image in detected])
        # In training mode, but for the norms.
        model.rpn.training = model.roi_heads.training = True
        model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler = First(256, 0.5), First(512, 0.25)
        proposals, losses = model.rpn(listed, maps, targets)
        losses |= model.roi_heads(maps, proposals, sizes, targets)[1]
    names = {"loss_objectness": "objectness", "loss_rpn_box_reg": "proposals", "loss_classifier": "classes"}
    names |= {"loss_box_reg": "boxes", "loss_mask": "masks"}
    return found | {f"loss {names[key]}": value.numpy() for key, value in losses.items()}


def stored(name: str) -> dict[str, Any]:
    with np.load(STORED) as file:
        found: dict[str, Any] = {key.partition("/")[2]: file[key] for key in file if key.startswith(f"{name}/")}
    lines = [line.split() for line in found["shapes"].tolist()]
    return found | {"shapes": {key: tuple(map(int, shape)) for key, *shape in lines}}


if __name__ == "__main__":
    arrays = {f"{name}/{key}": value for name in GAINS for key, value in results(name).items()}
    np.savez_compressed(STORED, **arrays)
    for key, value in arrays.items():
        print(key, value.shape, value.ravel()[:5] if value.size else "")
