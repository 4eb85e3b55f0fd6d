"""FCOS (Tian et al. 2019, arXiv:1904.01355): a point predicts its distances to the four sides of the object around it.

As torchvision has it: sides are rectified and not exponentials, without a scale of each level; points lie on the corner
of their cell; only those near the centre of an object predict it. The background has an output of its own, number 0,
which is never a target: `classes` counts objects, and their outputs are 1 to `classes`.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models import candidates
from cnn_jax.models.detector import Detections, Losses, Objects
from cnn_jax.models.layers import Activation, Conv, GroupNorm, Layer
from cnn_jax.models.necks import FPN, Top, strided
from cnn_jax.models.resnet import resnet50
from cnn_jax.models.retinanet import COCO_IMAGES, looked, rare, small
from cnn_jax.models.variant import Variant
from cnn_jax.ops.anchors import base_anchors, grid_anchors
from cnn_jax.ops.boxes import area, decode_distances, encode_distances, giou
from cnn_jax.ops.detection_losses import centerness, cross_entropy, focal
from cnn_jax.ops.matching import BACKGROUND, inside

SIZES = (8, 16, 32, 64, 128)  # of the levels' cells in pixels, the unit of distances
RADIUS = 1.5  # in cells: how near to the centre of an object a point must be (Tian et al. 2020, arXiv:2006.09214, 3.3)
LEAST, MOST = 4, 8  # in cells: of the farthest side of an object, for a level to predict it (section 3.2)


class Raw(NamedTuple):
    """What the heads say, level after level, finest first.

    logits: [B, A, 1 + classes] each, of the sigmoid. distances: [B, A, 4] left, top, right, bottom in cells.
    centerness: [B, A, 1], of the sigmoid. points: (x, y) [A, 2] in pixels of the example.
    """

    logits: list[jax.Array]
    distances: list[jax.Array]
    centerness: list[jax.Array]
    points: list[jax.Array]


class FCOS(nn.Module):
    """[B, H, W, C] -> Raw.

    Fields are those of RetinaNet; a score is the geometric mean of class and centerness.
    """

    classes: int
    backbone: Layer = resnet50
    neck: Layer = FPN
    top: Top = strided
    norm: Layer | None = None
    head_norm: Layer | None = GroupNorm
    score: float = 0.2
    candidates: int = 1000
    overlap: float = 0.6
    most: int = 100
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, content: jax.Array | None = None, objects: Objects | None = None
    ) -> Raw:
        del content, objects
        levels, class_tower, box_tower = looked(self, x, train=train, bias=True)
        conv = partial(self.conv, kernel_init=small)
        classifier = conv(1 + self.classes, (3, 3), bias_init=rare, name="classifier")
        boxes, centre = conv(4, (3, 3), name="boxes"), conv(1, (3, 3), name="centerness")
        raw = Raw([], [], [], [])
        for level, size in zip(levels, SIZES, strict=True):
            seen = box_tower(level, train=train)
            raw.logits.append(classifier(class_tower(level, train=train)).reshape(len(x), -1, 1 + self.classes))
            raw.distances.append(nn.relu(boxes(seen)).reshape(len(x), -1, 4))
            raw.centerness.append(centre(seen).reshape(len(x), -1, 1))
            anchors = grid_anchors(base_anchors((size,), (1.0,)), candidates.size_of(level), candidates.size_of(x))
            raw.points.append(jnp.asarray((anchors[:, :2] + anchors[:, 2:]) / 2))
        return raw

    def losses(self, raw: Raw, objects: Objects) -> Losses:
        """All by the number of points with an object in the batch."""
        points = jnp.concatenate(raw.points)
        counts = [len(level) for level in raw.points]
        cells = np.repeat(np.array(SIZES, np.float32), counts)
        reach = np.stack([LEAST * cells, MOST * cells])
        reach[0, : counts[0]], reach[1, -counts[-1] :] = 0, np.inf

        def of_image(
            logits: jax.Array, distances: jax.Array, centre: jax.Array, objects: Objects
        ) -> tuple[jax.Array, ...]:
            matched = nearest_centre(points, cells, reach, objects.boxes, objects.present)
            positive, own = matched >= 0, jnp.maximum(matched, 0)
            targets = positive[:, None] * jax.nn.one_hot(objects.labels[own] + 1, 1 + self.classes)
            covered = jnp.any(inside(points, objects.boxes) & objects.ignored[:, None], 0)
            # What is no object has no sides: a cell stands in, so that all is finite, and is not counted.
            cell = jnp.concatenate([points - cells[:, None], points + cells[:, None]], -1)
            boxes = jnp.where(positive[:, None], objects.boxes[own], cell)
            apart = 1 - giou(decode_distances(distances * cells[:, None], points), boxes)
            central = centerness(encode_distances(boxes, points))
            return (
                (focal(logits, targets).sum(-1) * (positive | ~covered)).sum() * objects.images,
                jnp.where(positive, apart, 0).sum(),
                jnp.where(positive, cross_entropy(centre[:, 0], central), 0).sum(),
                positive.sum(),
            )

        logits, distances, centre = (jnp.concatenate(part, 1) for part in raw[:3])
        *terms, positives = jax.vmap(of_image)(logits, distances, centre, objects)
        count = positives.sum().astype(jnp.float32)
        return {
            name: (term.sum(), count)
            for name, term in zip(("classification", "boxes", "centerness"), terms, strict=True)
        }

    def detections(self, raw: Raw, content: jax.Array) -> Detections:
        levels = []
        for logits, distances, centre, points, size in zip(*raw, SIZES, strict=True):
            places = candidates.best_anchors(_scores(logits[..., 1:].max(-1), centre[..., 0]), self.candidates)
            few = _scores(candidates.taken(logits, places)[..., 1:], candidates.taken(centre, places))
            best = candidates.best_pairs(few, places, self.candidates)
            boxes = decode_distances(candidates.taken(distances, best.anchors) * size, points[best.anchors])
            boxes = candidates.within(boxes, content)
            levels.append(candidates.Candidates(boxes, best.scores, best.labels, best.scores > self.score))
        return candidates.detected(levels, self.overlap, self.most)


def _scores(logits: jax.Array, centre: jax.Array) -> jax.Array:
    return jnp.sqrt(nn.sigmoid(logits) * nn.sigmoid(centre))


def nearest_centre(
    points: jax.Array, cells: np.ndarray, reach: np.ndarray, boxes: jax.Array, valid: jax.Array
) -> jax.Array:
    """The object of each point [A], or BACKGROUND: the smallest of those around it that its level may predict.

    Areas are compared in float32 as what they leave of 1e8, as torchvision does: those less than 8 pixels apart may
    tie, and the first of them wins.

    Args:
      points: (x, y) [A, 2].
      cells: [A] size of each point's cell, in pixels.
      reach: [2, A] what the farthest side of an object must be beyond and below, in pixels.
      boxes: [G, 4].
      valid: [G].
    """
    sides = encode_distances(boxes[:, None], points)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.abs(points - centres[:, None]).max(-1) < RADIUS * cells
    farthest = sides.max(-1)
    match = near & (sides.min(-1) > 0) & (farthest > reach[0]) & (farthest < reach[1]) & valid[:, None]
    left = jnp.where(match, (1e8 - area(boxes))[:, None].astype(jnp.float32), 0)
    return jnp.where(left.max(0, initial=0) < 1e-5, BACKGROUND, jnp.argmax(left, 0)).astype(jnp.int32)


fcos_resnet50_fpn = Variant(
    build=partial(FCOS),
    input_shape=(800, 800, 3),
    classes=90,
    params=32_322_720,
    macs=128_207_052_800,
    source="Tian et al. 2019, arXiv:1904.01355",
    reference="torchvision:fcos_resnet50_fpn",
    preprocessing=COCO_IMAGES,
)
