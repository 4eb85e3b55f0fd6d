"""Which object each anchor, or point, of an image is to predict: three rules, with static shapes.

Objects are padded to G, with `valid` [G] False for those that are none; all may be. The answer is a position among the
objects for each of A anchors, or BACKGROUND, or IGNORED.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.ops.boxes import area, encode_distances, intersection, iou
from cnn_jax.ops.detection_losses import centerness

BACKGROUND, IGNORED = -1, -2


def by_iou(
    overlaps: jax.Array, valid: jax.Array, *, foreground: float, background: float, forced: bool = True
) -> jax.Array:
    """The object that overlaps an anchor most (Ren et al. 2015, section 3.1.2).

    Args:
      overlaps: IoU [G, A].
      valid: [G].
      foreground: an anchor is its object's from this IoU on.
      background: below it an anchor is background; between the two it is ignored.
      forced: each object also gets the anchors that overlap it most, all that tie, though below `foreground`. Such an
        anchor then predicts the object that *it* overlaps most, which may be another one: torchvision's rule. Where an
        object overlaps no anchor at all, all those without overlap with it tie.

    Returns:
      [A] positions, BACKGROUND or IGNORED; the first of equal objects.
    """
    overlaps = jnp.where(valid[:, None], overlaps, -1.0)
    best, found = overlaps.max(0, initial=-1.0), jnp.argmax(overlaps, 0)
    matched = jnp.where(best < background, BACKGROUND, jnp.where(best < foreground, IGNORED, found))
    if forced:
        highest = overlaps.max(1, keepdims=True)
        wanted = jnp.any((overlaps == highest) & valid[:, None], 0)
        matched = jnp.where(wanted, found, matched)
    return matched.astype(jnp.int32)


def atss(
    anchors: jax.Array, levels: Sequence[int], boxes: jax.Array, valid: jax.Array, *, candidates: int = 9
) -> jax.Array:
    """Adaptive training sample selection (Zhang et al. 2020, algorithm 1).

    Of each level the anchors whose centres are nearest to an object's are its candidates; those of them are its own
    whose IoU reaches the candidates' mean plus their standard deviation (of a sample, as in the authors' code), and
    whose centre lies inside the object. An anchor of several objects predicts the one that it overlaps most.

    Args:
      anchors: [A, 4], level after level.
      levels: how many anchors each level has; their sum is A.
      boxes: [G, 4].
      valid: [G].
      candidates: of each level.
    """
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    apart = jnp.linalg.norm(middle[:, None] - centres, axis=-1)
    ends = np.cumsum([0, *levels])
    chosen = jnp.concatenate(
        [
            _lowest(apart[:, start:end], min(candidates, end - start))
            for start, end in zip(ends[:-1], ends[1:], strict=True)
        ],
        1,
    )
    overlaps = iou(boxes[:, None], anchors)
    count = sum(min(candidates, level) for level in levels)
    mean = (overlaps * chosen).sum(1, keepdims=True) / count
    spread = jnp.sqrt((chosen * (overlaps - mean) ** 2).sum(1, keepdims=True) / max(count - 1, 1))
    own = chosen & (overlaps >= mean + spread) & inside(centres, boxes)
    return _most(own & valid[:, None], overlaps)


class Aligned(NamedTuple):
    """What `task_aligned` says of A points.

    objects: [A] positions, or BACKGROUND.
    quality: [A] the score that the class of the object is to reach, 0 for background.
    """

    objects: jax.Array
    quality: jax.Array


def task_aligned(
    scores: jax.Array,
    predicted: jax.Array,
    points: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    alpha: float = 1.0,
    beta: float = 6.0,
    candidates: int = 13,
    settled: bool | jax.Array = True,
) -> Aligned:
    """Task-aligned assignment (Feng et al. 2021, section 3.2): the points that already predict an object best, get it.

    The alignment of a point with an object is score^alpha * IoU^beta (eq. 3). Of the points inside an object the
    `candidates` with the highest alignment are its own; a point of several objects predicts the one that its box
    overlaps most. The quality is the alignment, scaled so that an object's largest is its largest IoU (eq. 5). Nothing
    here has a gradient.

    Args:
      scores: [A, C], in [0, 1].
      predicted: boxes [A, 4].
      points: (x, y) [A, 2].
      boxes: [G, 4].
      labels: [G], classes of the objects; those that are not valid may be any.
      valid: [G].
      settled: whether predictions mean something yet. While they do not, the alignment is FCOS's centerness (Tian et
        al. 2019, eq. 3), which no prediction decides, and an object's largest quality is 1.
    """
    scores, predicted = jax.lax.stop_gradient((scores, predicted))
    own_class = scores[:, jnp.clip(labels, 0, scores.shape[1] - 1)].T
    usable = inside(points, boxes) & valid[:, None]
    central = centerness(encode_distances(boxes[:, None], points))
    overlaps = jnp.where(settled, iou(boxes[:, None], predicted), central)
    alignment = jnp.where(settled, own_class**alpha * overlaps**beta, central)
    alignment = jnp.where(usable, alignment, 0.0)
    best = _lowest(jnp.where(usable, -alignment, jnp.inf), min(candidates, len(points)))
    own = best & usable
    objects = _most(own, overlaps)
    # Once each point has one object: the largest alignment and IoU of those that an object still has.
    kept = objects == jnp.arange(len(boxes))[:, None]
    largest = jnp.where(kept, alignment, 0).max(1, initial=0.0, keepdims=True)
    reach = jnp.where(settled, jnp.where(kept, overlaps, 0).max(1, initial=0.0, keepdims=True), 1.0)
    scaled = jnp.where(kept, alignment / jnp.where(largest > 0, largest, 1) * reach, 0)
    return Aligned(objects, scaled.max(0, initial=0.0))


def inside(points: jax.Array, boxes: jax.Array) -> jax.Array:
    """Whether points (x, y) [A, 2] lie inside boxes [G, 4], not on their border: [G, A]."""
    after = points > boxes[:, None, :2]
    before = points < boxes[:, None, 2:]
    return jnp.all(after & before, -1)


def hidden(anchors: jax.Array, boxes: jax.Array, ignored: jax.Array) -> jax.Array:
    """Which anchors [A, 4] lie in ignored ones of boxes [G, 4] by half or more: they are no background, [A]."""
    shared = intersection(boxes[:, None], anchors) * ignored[:, None]
    return shared.max(0, initial=0.0) >= 0.5 * area(anchors)


def _lowest(values: jax.Array, count: int) -> jax.Array:
    """Where the `count` lowest values of each row of [G, A] stand, the first of equals: [G, A]."""
    _, places = jax.lax.top_k(-values, count)
    rows = jnp.arange(len(values))[:, None]
    return jnp.zeros(values.shape, bool).at[rows, places].set(True)


def _most(own: jax.Array, overlaps: jax.Array) -> jax.Array:
    """Of the objects that own an anchor [G, A], the one with the largest IoU, or BACKGROUND: [A]."""
    ranked = jnp.where(own, overlaps, -1.0)
    return jnp.where(own.any(0), jnp.argmax(ranked, 0), BACKGROUND).astype(jnp.int32)
