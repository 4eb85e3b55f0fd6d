"""RetinaNet (Lin et al. 2017, arXiv:1708.02002): anchors on a feature pyramid, trained with the focal loss.

As torchvision has it, in two versions. Both give the background an output of its own, number 0, which is never a
target: `classes` counts objects, and their outputs are 1 to `classes`.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models import candidates
from cnn_jax.models.detector import Detections, Losses, Objects
from cnn_jax.models.layers import Activation, Conv, GroupNorm, Layer
from cnn_jax.models.necks import FPN, Top, at_strides, strided
from cnn_jax.models.resnet import resnet50
from cnn_jax.models.variant import Preprocessing, Variant
from cnn_jax.ops.anchors import base_anchors, grid_anchors
from cnn_jax.ops.boxes import decode_deltas, encode_deltas, giou, iou
from cnn_jax.ops.detection_losses import focal
from cnn_jax.ops.matching import BACKGROUND, by_iou, hidden

STRIDES = (8, 16, 32)  # of the maps that the pyramid reads; its further levels have 64 and 128
# Three sizes an octave, rounded down (section 4, "Anchors"), of each level.
ANCHOR_SIZES = tuple(tuple(int(size * 2 ** (third / 3)) for third in range(3)) for size in (32, 64, 128, 256, 512))
ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height over width

small = nn.initializers.normal(0.01)
rare = nn.initializers.constant(-math.log(99))  # a probability of .01 (section 3.3)


class Raw(NamedTuple):
    """What the heads say, level after level, finest first.

    logits: [B, A, 1 + classes] each, of the sigmoid. deltas: [B, A, 4]. anchors: [A, 4] in pixels of the example.
    """

    logits: list[jax.Array]
    deltas: list[jax.Array]
    anchors: list[jax.Array]


class Tower(nn.Module):
    """Four 3x3 convolutions with activations, [B, H, W, C] -> [B, H, W, C], the same for all levels.

    bias: whether they have one where a norm follows them.
    """

    norm: Layer | None
    conv: Layer
    act: Activation
    bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for i in range(1, 5):
            x = self.conv(x.shape[-1], (3, 3), use_bias=self.bias or self.norm is None, name=f"conv{i}")(x)
            x = self.act(self.norm(name=f"norm{i}")(x, train=train) if self.norm else x)
        return x


def looked(detector: Any, x: jax.Array, *, train: bool, bias: bool = False) -> tuple[list[jax.Array], Tower, Tower]:
    """What detectors of one stage begin with, as modules of the calling one: levels, and the towers for them.

    detector: with the fields of RetinaNet that are called alike. bias: of the towers' convolutions.
    """
    norm = {"norm": detector.norm} if detector.norm else {}
    features = detector.backbone(classes=None, dtype=detector.dtype, name="backbone", **norm)(x, train=train)
    neck = detector.neck(top=detector.top, conv=detector.conv, dtype=detector.dtype, name="neck")
    levels = neck(at_strides(features, x, STRIDES), train=train)
    conv = partial(detector.conv, kernel_init=small, dtype=detector.dtype)
    head_norm = partial(detector.head_norm, dtype=detector.dtype) if detector.head_norm else None
    tower = partial(Tower, head_norm, conv, detector.act, bias=bias)
    return levels, tower(name="class_tower"), tower(name="box_tower")


class RetinaNet(nn.Module):
    """[B, H, W, C] -> Raw.

    backbone: with maps of strides 8, 16 and 32, called with classes=None. neck: of these maps. norm: of the backbone;
    None: its own. head_norm: in the towers of the heads. box_loss: "l1" of the deltas, or "giou" of the boxes.
    score: that a detection is above. candidates: of each level, before those are suppressed that overlap a better one
    of their class by more than `overlap`. most: detections of an image.
    """

    classes: int
    backbone: Layer = resnet50
    neck: Layer = FPN
    top: Top = strided
    norm: Layer | None = None
    head_norm: Layer | None = None
    box_loss: Literal["l1", "giou"] = "l1"
    anchor_sizes: tuple[tuple[int, ...], ...] = ANCHOR_SIZES
    score: float = 0.05
    candidates: int = 1000
    overlap: float = 0.5
    most: int = 300
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, content: jax.Array | None = None, objects: Objects | None = None
    ) -> Raw:
        del content, objects
        levels, class_tower, box_tower = looked(self, x, train=train)
        conv = partial(self.conv, kernel_init=small)
        each = len(ASPECT_RATIOS) * len(self.anchor_sizes[0])
        outputs = 1 + self.classes
        classifier = conv(each * outputs, (3, 3), bias_init=rare, name="classifier")
        boxes = conv(each * 4, (3, 3), name="boxes")
        raw = Raw([], [], [])
        for level, sizes in zip(levels, self.anchor_sizes, strict=True):
            raw.logits.append(classifier(class_tower(level, train=train)).reshape(len(x), -1, outputs))
            raw.deltas.append(boxes(box_tower(level, train=train)).reshape(len(x), -1, 4))
            base = base_anchors(sizes, ASPECT_RATIOS)
            raw.anchors.append(jnp.asarray(grid_anchors(base, candidates.size_of(level), candidates.size_of(x))))
        return raw

    def losses(self, raw: Raw, objects: Objects) -> Losses:
        """Those of each image by its own number of anchors with an object, then the mean over images."""
        anchors = jnp.concatenate(raw.anchors)

        def of_image(logits: jax.Array, deltas: jax.Array, objects: Objects) -> tuple[jax.Array, jax.Array]:
            overlaps = iou(objects.boxes[:, None], anchors)
            matched = by_iou(overlaps, objects.present, foreground=0.5, background=0.4)
            positive = matched >= 0
            own = jnp.maximum(matched, 0)
            targets = positive[:, None] * jax.nn.one_hot(objects.labels[own] + 1, 1 + self.classes)
            counts = positive | ((matched == BACKGROUND) & ~hidden(anchors, objects.boxes, objects.ignored))
            count = jnp.maximum(positive.sum(), 1)
            # What is no object has no sides: an anchor stands in, so that its code is finite, and not counted.
            boxes = jnp.where(positive[:, None], objects.boxes[own], anchors)
            if self.box_loss == "l1":
                apart = jnp.abs(deltas - encode_deltas(boxes, anchors)).sum(-1)
            else:
                apart = 1 - giou(decode_deltas(deltas, anchors), boxes)
            found = (focal(logits, targets).sum(-1) * counts).sum()
            return found / count, jnp.where(positive, apart, 0).sum() / count

        logits, deltas = jnp.concatenate(raw.logits, 1), jnp.concatenate(raw.deltas, 1)
        terms = jax.vmap(of_image)(logits, deltas, objects)
        images = objects.images.sum()
        return {
            name: ((term * objects.images).sum(), images)
            for name, term in zip(("classification", "boxes"), terms, strict=True)
        }

    def detections(self, raw: Raw, content: jax.Array) -> Detections:
        levels = []
        for logits, deltas, anchors in zip(*raw, strict=True):
            places = candidates.best_anchors(logits[..., 1:].max(-1), self.candidates)
            best = candidates.best_pairs(candidates.taken(logits, places)[..., 1:], places, self.candidates)
            boxes = decode_deltas(candidates.taken(deltas, best.anchors), anchors[best.anchors])
            scores = nn.sigmoid(best.scores)
            boxes = candidates.within(boxes, content)
            levels.append(candidates.Candidates(boxes, scores, best.labels, scores > self.score))
        return candidates.detected(levels, self.overlap, self.most)


COCO_IMAGES = Preprocessing((800, 1333), resize="short_side", interpolation="sampled")  # of what torchvision trained
_coco = partial(Variant, input_shape=(800, 800, 3), classes=90, preprocessing=COCO_IMAGES)

retinanet_resnet50_fpn = _coco(
    build=partial(RetinaNet),
    params=34_068_119,
    macs=151_540_437_248,
    source="Lin et al. 2017, arXiv:1708.02002",
    reference="torchvision:retinanet_resnet50_fpn",
)
# Zhang et al. 2020 compare two kinds of detectors, and what of their differences does not lie in the kind.
retinanet_resnet50_fpn_v2 = _coco(
    build=partial(RetinaNet, top=partial(strided, of_input=True), head_norm=GroupNorm, box_loss="giou"),
    params=38_198_935,
    macs=152_238_199_040,
    source="Lin et al. 2017, arXiv:1708.02002, as Zhang et al. 2020, arXiv:1912.02424, section 3.1, train it",
    reference="torchvision:retinanet_resnet50_fpn_v2",
)
