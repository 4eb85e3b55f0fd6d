"""A small detector without anchors: each point of a fine map says what it lies on, and how far that reaches.

The class scores are to say how good a point's box is, so that one number ranks all boxes: task-aligned learning (Feng
et al. 2021, arXiv:2108.07755) with the quality focal loss (Li et al. 2020, arXiv:2006.04388). The other choice for the
same head is a map of the objects' centres (Zhou et al. 2019, arXiv:1904.07850), which learns sooner and ranks worse.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models import candidates
from cnn_jax.models.detector import Detections, Losses, Objects
from cnn_jax.models.fast_net import FastNet
from cnn_jax.models.heads import features_of
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer
from cnn_jax.models.necks import FPN, at_strides
from cnn_jax.models.variant import Variant
from cnn_jax.ops import boxes as geometry
from cnn_jax.ops.anchors import grid_points
from cnn_jax.ops.detection_losses import heat_focal, quality_focal
from cnn_jax.ops.matching import inside, task_aligned

Learns = Literal["aligned", "centres"]

PRIOR = 0.01  # score of all classes at the start, or the loss of the many points of nothing would drown the rest
BOX_WEIGHT = 2.0  # of the loss of boxes beside that of classes
ALPHA, BETA, TAUGHT = 0.5, 4.0, 9  # alpha, beta and candidates of `task_aligned`
CANDIDATES = 3  # that compete, for each detection of an image at most
NEAREST = 1.5  # cells around an object's centre whose boxes learn, where centres are learned


class Points(NamedTuple):
    """What the detector saw, for A points of all levels.

    logits: [B, A, C]. distances: [B, A, 4] to the left, upper, right and lower side, in pixels.
    places: (x, y) [A, 2] of the points. strides: [A] of their maps. settled: [] whether boxes mean something yet.
    """

    logits: jax.Array
    distances: jax.Array
    places: jax.Array
    strides: jax.Array
    settled: jax.Array


class PointDetector(nn.Module):
    """Images [B, H, W, C] -> Points.

    backbone: builds a model of the zoo, called with classes=None; it keeps its own norms. strides: of those of its maps
      that the pyramid is made of.
    levels: how many of the pyramid's, the finest, have points. width: channels of the pyramid and the head.
    depth: 3x3 convolutions of the head, which all levels share; each level has norms of its own.
    learns: "aligned" or "centres". start: steps of training after which predictions decide which points an object
      gets; those before are given by its centre.
    score, iou, most: a detection has at least this score; of one class at most this IoU with a better one; and an image
      at most so many.
    """

    classes: int
    backbone: Layer = partial(FastNet, features=(32, 64, 128, 192))
    strides: tuple[int, ...] = (4, 8, 16)
    levels: int = 1
    width: int = 64
    depth: int = 1
    learns: Learns = "aligned"
    start: int = 200
    score: float = 0.01
    iou: float = 0.6
    most: int = 100
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.gelu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, content: jax.Array | None = None, objects: Objects | None = None
    ) -> Points:
        del content, objects
        if self.learns not in get_args(Learns) or not 1 <= self.levels <= len(self.strides):
            raise ValueError(f"learns must be 'aligned' or 'centres' and levels 1 to {len(self.strides)}")
        backbone = self.backbone(classes=None, dtype=self.dtype, name="backbone")
        maps = at_strides(features_of(backbone(x, train=train)), x, self.strides)
        neck = FPN(self.width, norm=self.norm, finest=self.levels, conv=self.conv, dtype=self.dtype, name="neck")
        tower = [
            self.conv(self.width, (3, 3), use_bias=False, dtype=self.dtype, name=f"head{i + 1}")
            for i in range(self.depth)
        ]
        prior = nn.initializers.constant(-math.log((1 - PRIOR) / PRIOR))
        small = nn.initializers.normal(0.01)
        class_logits = self.conv(self.classes, (1, 1), bias_init=prior, kernel_init=small, name="classifier")
        sides = self.conv(4, (1, 1), bias_init=nn.initializers.ones, kernel_init=small, name="sides")
        logits, distances, places, strides = [], [], [], []
        for level, map_ in enumerate(neck(maps, train=train), 1):
            stride = self.strides[level - 1]
            y = self.act(map_)
            for i, layer in enumerate(tower, 1):
                y = self.act(self.norm(dtype=self.dtype, name=f"head{i}_level{level}_norm")(layer(y), train=train))
            logits.append(_by_point(class_logits(y)))
            distances.append(nn.softplus(_by_point(sides(y))) * stride)
            grid = grid_points((y.shape[1], y.shape[2]), stride)
            places.append(grid)
            strides.append(np.full(len(grid), stride, np.float32))
        seen = self.variable("progress", "steps", jnp.zeros, (), jnp.float32)
        settled = seen.value >= self.start
        if train and not self.is_initializing():
            seen.value += 1
        return Points(
            jnp.concatenate(logits, 1),
            jnp.concatenate(distances, 1),
            jnp.asarray(np.concatenate(places)),
            jnp.asarray(np.concatenate(strides)),
            settled,
        )

    def losses(self, raw: Points, objects: Objects) -> Losses:
        """The terms "classes" and "boxes"."""
        of_image = _aligned if self.learns == "aligned" else _centres
        by_image: Any = Points(0, 0, None, None, None)  # type: ignore[arg-type]  # axes in the place of arrays
        classes, boxes, count = jax.vmap(of_image, (by_image, 0))(raw, objects)
        real = objects.images
        count = (count * real).sum()
        return {"classes": ((classes * real).sum(), count), "boxes": (BOX_WEIGHT * (boxes * real).sum(), count)}

    def detections(self, raw: Points, content: jax.Array) -> Detections:
        """Boxes are cut to `content` before they compete."""
        places = candidates.best_anchors(raw.logits.max(-1), CANDIDATES * self.most)
        best = candidates.best_pairs(candidates.taken(raw.logits, places), places, CANDIDATES * self.most)
        distances = candidates.taken(raw.distances, best.anchors)
        boxes = candidates.within(geometry.decode_distances(distances, raw.places[best.anchors]), content)
        scores = nn.sigmoid(best.scores)
        found = candidates.Candidates(boxes, scores, best.labels, scores >= self.score)
        return candidates.detected([found], self.iou, self.most)


def _by_point(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H * W, C], at least in float32."""
    x = x.reshape(len(x), -1, x.shape[-1])
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


Terms = tuple[jax.Array, jax.Array, jax.Array]  # of one image: the sums of both losses, and what they are divided by


def _aligned(points: Points, objects: Objects) -> Terms:
    predicted = geometry.decode_distances(points.distances, points.places)
    matched = task_aligned(
        nn.sigmoid(points.logits),
        predicted,
        points.places,
        objects.boxes,
        objects.labels,
        objects.present,
        alpha=ALPHA,
        beta=BETA,
        candidates=TAUGHT,
        settled=points.settled,
    )
    chosen = jnp.maximum(matched.objects, 0)
    quality = jax.nn.one_hot(objects.labels[chosen], points.logits.shape[-1]) * matched.quality[:, None]
    counts = (matched.objects >= 0) | ~_in_ignored(points.places, objects)
    classes = (quality_focal(points.logits, quality).sum(-1) * counts).sum()
    misplaced = 1 - geometry.giou(predicted, objects.boxes[chosen])
    return classes, (misplaced * matched.quality).sum(), matched.quality.sum()


def _centres(points: Points, objects: Objects) -> Terms:
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    middle = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
    # The point next to each centre is its peak, around which the heat falls off with the object's size.
    apart = jnp.abs(points.places[None] - middle[:, None])  # [G, A, 2]
    spread = jnp.maximum(sides / 6, points.strides.min() / 2)[:, None]
    heat = jnp.exp(-((apart / spread) ** 2).sum(-1) / 2) * objects.present[:, None]
    nearest = (apart**2).sum(-1)
    peak = (nearest == nearest.min(1, keepdims=True)) & objects.present[:, None]
    heat = jnp.where(peak, 1.0, heat)
    of_class = jax.nn.one_hot(objects.labels, points.logits.shape[-1])  # [G, C]
    target = jnp.max(heat[..., None] * of_class[:, None], 0)
    counts = jnp.any(peak, 0) | ~_in_ignored(points.places, objects)
    classes = (heat_focal(points.logits, target).sum(-1) * counts).sum()
    near = (apart.max(-1) <= NEAREST * points.strides) & inside(points.places, objects.boxes) & objects.present[:, None]
    weight = jnp.where(near | peak, heat, 0)
    chosen = jnp.argmax(weight, 0)
    weight = weight.max(0)
    predicted = geometry.decode_distances(points.distances, points.places)
    misplaced = 1 - geometry.giou(predicted, objects.boxes[chosen])
    count = objects.present.sum().astype(jnp.float32)
    return classes, (misplaced * weight).sum() * count / jnp.maximum(weight.sum(), 1e-6), count


def _in_ignored(places: jax.Array, objects: Objects) -> jax.Array:
    """Whether points [A, 2] lie in what is neither an object nor background, [A]."""
    return jnp.any(inside(places, objects.boxes) & objects.ignored[:, None], 0)


point_detector = Variant(
    build=partial(PointDetector),
    input_shape=(96, 96, 1),
    classes=10,
    params=949_742,
    macs=175_693_824,
    source="this project",
)
