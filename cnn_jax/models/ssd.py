"""SSD (Liu et al. 2016, arXiv:1512.02325): default boxes of several sizes and shapes on maps that shrink to one cell.

SSD300 on VGG-16, and SSDLite320 (Sandler et al. 2018, arXiv:1801.04381, section 6.2) on MobileNetV3, as torchvision has
them. Classes exclude one another: output 0 is the background, those of `classes` objects are 1 to `classes`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax.models import candidates
from cnn_jax.models.detector import Detections, Losses, Objects
from cnn_jax.models.heads import Features, features_of
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer
from cnn_jax.models.mobilenet_v3 import TABLE_1, MobileNetV3, Row
from cnn_jax.models.variant import Preprocessing, Variant
from cnn_jax.models.vgg import vgg16
from cnn_jax.ops.anchors import default_boxes
from cnn_jax.ops.boxes import decode_deltas, encode_deltas, iou
from cnn_jax.ops.detection_losses import hard_negatives, smooth_l1
from cnn_jax.ops.matching import by_iou, hidden
from cnn_jax.ops.pooling import max_pool

WEIGHTS = (10, 10, 5, 5)  # of the coded numbers
NEGATIVES = 3  # for each anchor with an object (section 2.2)

glorot = nn.initializers.xavier_uniform()


class Raw(NamedTuple):
    """logits: [B, A, 1 + classes], of the softmax. deltas: [B, A, 4]. anchors: [A, 4] in pixels of the example."""

    logits: jax.Array
    deltas: jax.Array
    anchors: jax.Array


class VGGMaps(nn.Module):
    """VGG-16's features -> six maps [B, H, W, C], by further convolutions (figure 2).

    Of 300 pixels they have 38, 19, ... 1 rows.

    conv4_3 is brought to unit length at each place, times a learnt scale of each channel (Liu et al. 2015,
    arXiv:1506.04579), and goes on as it was. fc6 and fc7 become convolutions, the first one with holes.
    """

    conv: Layer = Conv
    norm: Layer | None = None
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features, *, train: bool) -> list[jax.Array]:
        conv = partial(self.conv, kernel_init=glorot, dtype=self.dtype)
        fine, x = features["stage4"], features["stage5"]
        scale = self.param("scale_weight", nn.initializers.constant(20.0), fine.shape[-1:], jnp.float32)
        length = jnp.sqrt(jnp.square(fine.astype(jnp.float32)).sum(-1, keepdims=True))
        maps = [(scale * (fine / jnp.maximum(length, 1e-12))).astype(fine.dtype)]
        x = max_pool(x, 3, 1, padding=1)
        x = self.act(conv(1024, (3, 3), dilation=6, name="fc6")(x))
        maps.append(x := self.act(conv(1024, (1, 1), name="fc7")(x)))
        for number, (width, strides) in enumerate(((512, 2), (256, 2), (256, 1), (256, 1)), 8):
            x = self.act(conv(width // 2, (1, 1), name=f"conv{number}_1")(x))
            padding = None if strides == 2 else 0
            maps.append(x := self.act(conv(width, (3, 3), strides, padding=padding, name=f"conv{number}_2")(x)))
        return maps


# Table 1 of MobileNetV3 with half the channels behind the last stride, which detectors do without (section 6.3).
REDUCED = (*TABLE_1[:-3], TABLE_1[-3]._replace(features=80), *[Row(5, 480, 80, True, True, 1)] * 2)
slightly = nn.initializers.normal(0.03)


class MobileMaps(nn.Module):
    """MobileNetV3's features -> six maps [B, H, W, C], by further blocks; of 320 pixels 20, 10, 5, 3, 2 and 1 rows.

    The first is what the block with the last stride expands its input to (Howard et al. 2019, arXiv:1905.02244,
    section 6.3). A further block makes its input narrower, then smaller by a depthwise convolution, then wider.
    """

    conv: Layer = Conv
    norm: Layer = partial(BatchNorm, epsilon=1e-3, momentum=0.97)
    act: Activation = nn.relu6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features, *, train: bool) -> list[jax.Array]:
        x = features[f"block{len(REDUCED) + 1}"]
        maps = [features["expansion"], x]
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)

        def block(x: jax.Array, name: str, *size: Any, **settings: Any) -> jax.Array:
            x = conv(*size, name=f"{name}_conv", **({"kernel_init": slightly} | settings))(x)
            return self.act(self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train))

        for number, width in enumerate((512, 256, 256, 128), 1):
            x = block(x, f"extra{number}_narrow", width // 2, (1, 1))
            x = block(x, f"extra{number}_depthwise", width // 2, (3, 3), 2, groups=width // 2)
            maps.append(x := block(x, f"extra{number}_wide", width, (1, 1)))
        return maps


class Head(nn.Module):
    """Outputs [B, A, numbers] of each default box, by a 3x3 convolution of each map.

    lite: by a depthwise one with norm and activation, and a 1x1 convolution.
    """

    each: Sequence[int]  # default boxes at each place of a map
    numbers: int
    conv: Layer
    norm: Layer | None
    act: Activation
    lite: bool
    dtype: Any

    @nn.compact
    def __call__(self, maps: list[jax.Array], *, train: bool) -> jax.Array:
        found = []
        for i, (x, each) in enumerate(zip(maps, self.each, strict=True), 1):
            outputs, batch = each * self.numbers, len(x)
            if self.lite:
                conv = partial(self.conv, kernel_init=slightly)
                x = conv(
                    x.shape[-1], (3, 3), groups=x.shape[-1], use_bias=False, dtype=self.dtype, name=f"depthwise{i}"
                )(x)
                x = self.act(self.norm(dtype=self.dtype, name=f"norm{i}")(x, train=train) if self.norm else x)
                x = conv(outputs, (1, 1), name=f"level{i}")(x)
            else:
                x = self.conv(outputs, (3, 3), kernel_init=glorot, name=f"level{i}")(x)
            found.append(x.reshape(batch, -1, self.numbers))
        return jnp.concatenate(found, 1)


class SSD(nn.Module):
    """[B, H, W, C] -> Raw.

    backbone: called with classes=None. maps: builds what makes the maps of its features, finest first. ratios: of each
    map, width over height, beside 1. scales: of its boxes, and one more, in shares of the image. steps: pixels between
    places of a map; (): the image over its size. score: that a detection is above. candidates: of each class, before
    those are suppressed that overlap a better one by more than `overlap`. most: detections of an image.
    """

    classes: int
    backbone: Layer = partial(vgg16, ceil=(3,))
    maps: Layer = VGGMaps
    lite: bool = False
    ratios: Sequence[Sequence[float]] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    scales: Sequence[float] = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    steps: Sequence[int] = (8, 16, 32, 64, 100, 300)
    score: float = 0.01
    candidates: int = 400
    overlap: float = 0.45
    most: int = 200
    conv: Layer = Conv
    norm: Layer | None = None
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, content: jax.Array | None = None, objects: Objects | None = None
    ) -> Raw:
        del content, objects
        settings: dict[str, Any] = dict(conv=self.conv, norm=self.norm, act=self.act, dtype=self.dtype)
        norm = {"norm": self.norm} if self.norm else {}
        backbone = self.backbone(classes=None, conv=self.conv, dtype=self.dtype, name="backbone", **norm)
        maps = self.maps(name="maps", **settings)(features_of(backbone(x, train=train)), train=train)
        each = [2 + 2 * len(ratios) for ratios in self.ratios]
        head = partial(Head, each, lite=self.lite, **settings)
        logits = head(numbers=1 + self.classes, name="classifier")(maps, train=train)
        deltas = head(numbers=4, name="boxes")(maps, train=train)
        grids = [candidates.size_of(y) for y in maps]
        anchors = default_boxes(grids, self.scales, self.ratios, candidates.size_of(x), self.steps)
        return Raw(logits, deltas, jnp.asarray(anchors))

    def losses(self, raw: Raw, objects: Objects) -> Losses:
        """Both by the number of default boxes with an object in the batch."""

        def of_image(logits: jax.Array, deltas: jax.Array, objects: Objects) -> tuple[jax.Array, ...]:
            matched = claimed(iou(objects.boxes[:, None], raw.anchors), objects.present)
            positive, own = matched >= 0, jnp.maximum(matched, 0)
            targets = jnp.where(positive, objects.labels[own] + 1, 0)
            # What is no object has no sides: a default box stands in, so that its code is finite, and not counted.
            boxes = jnp.where(positive[:, None], objects.boxes[own], raw.anchors)
            apart = smooth_l1(deltas - encode_deltas(boxes, raw.anchors, WEIGHTS)).sum(-1)
            wrong = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            negative = ~positive & ~hidden(raw.anchors, objects.boxes, objects.ignored)
            counts = positive | hard_negatives(jax.lax.stop_gradient(wrong), positive, negative, NEGATIVES)
            return jnp.where(counts, wrong, 0).sum(), jnp.where(positive, apart, 0).sum(), positive.sum()

        *terms, positives = jax.vmap(of_image)(raw.logits, raw.deltas, objects)
        count = positives.sum().astype(jnp.float32)
        return {name: (term.sum(), count) for name, term in zip(("classification", "boxes"), terms, strict=True)}

    def detections(self, raw: Raw, content: jax.Array) -> Detections:
        boxes = candidates.within(decode_deltas(raw.deltas, raw.anchors, WEIGHTS), content)
        by_class = nn.softmax(raw.logits)[..., 1:].swapaxes(1, 2)
        scores, places = jax.lax.top_k(by_class, min(self.candidates, len(raw.anchors)))
        batch, classes, count = scores.shape
        labels = jnp.broadcast_to(jnp.arange(classes)[:, None], scores.shape).reshape(batch, -1)
        scores, places = scores.reshape(batch, -1), places.reshape(batch, -1)
        found = candidates.Candidates(candidates.taken(boxes, places), scores, labels, scores > self.score)
        return candidates.detected([found], self.overlap, self.most)


def claimed(overlaps: jax.Array, valid: jax.Array) -> jax.Array:
    """The object of each default box [A], or BACKGROUND, from IoUs [G, A] (section 2.2, "Matching strategy").

    Each object has the box that overlaps it most, the first of equal ones; where two want the same, the later has it.
    The others are those of the object that they overlap most, from .5 on.
    """
    matched = by_iou(overlaps, valid, foreground=0.5, background=0.5, forced=False)
    objects = jnp.where(valid, jnp.arange(len(overlaps)), -1)
    owner = jnp.full(overlaps.shape[1], -1).at[jnp.argmax(overlaps, 1)].max(objects)
    return jnp.where(owner >= 0, owner, matched).astype(jnp.int32)


ssd300_vgg16 = Variant(
    build=partial(SSD),
    input_shape=(300, 300, 3),
    classes=90,
    params=35_641_826,
    macs=34_858_153_472,
    source="Liu et al. 2016, arXiv:1512.02325, figure 2",
    reference="torchvision:ssd300_vgg16",
    # what was trained read bytes, less their mean
    preprocessing=Preprocessing(
        (300, 300), resize="stretch", interpolation="sampled", mean=(0.48235, 0.45882, 0.40784), std=(1 / 255,) * 3
    ),
)
ssdlite320_mobilenet_v3_large = Variant(
    build=partial(
        SSD,
        backbone=partial(MobileNetV3, rows=REDUCED, hidden=0, inner=True),
        maps=MobileMaps,
        lite=True,
        ratios=((2, 3),) * 6,
        scales=(*(0.2 + 0.75 * k / 5 for k in range(6)), 1.0),
        steps=(),
        score=0.001,
        candidates=300,
        overlap=0.55,
        most=300,
        norm=partial(BatchNorm, epsilon=1e-3, momentum=0.97),
        act=nn.relu6,
    ),
    input_shape=(320, 320, 3),
    classes=90,
    params=3_440_060,
    macs=583_171_904,
    source="Sandler et al. 2018, arXiv:1801.04381, section 6.2, on Howard et al. 2019, arXiv:1905.02244, section 6.3",
    reference="torchvision:ssdlite320_mobilenet_v3_large",
    preprocessing=Preprocessing((320, 320), resize="stretch", interpolation="sampled", mean=(0.5,) * 3, std=(0.5,) * 3),
)
