"""Boxes: how far they overlap, and the codings by which networks regress them.

A box is its corners (x0, y0, x1, y1), x to the right and y down, in any unit; its sides are x1 - x0 and y1 - y0,
without the extra pixel of older code. All functions broadcast, so `iou(a[:, None], b)` compares each box of a [N, 4]
with each of b [M, 4].

Values and gradients are finite for every finite input: for boxes without area, which padding is, for boxes one pixel
wide, and for pairs that coincide or lie apart.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

LARGEST_GROWTH = math.log(1000 / 16)  # of a side, as a logarithm: beyond it a decoded box would be absurd


def area(boxes: jax.Array) -> jax.Array:
    """Boxes [..., 4] -> areas [...]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersection(a: jax.Array, b: jax.Array) -> jax.Array:
    """The area that two boxes share: a [..., 4] and b [..., 4] -> [...]."""
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    sides = jnp.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of a [..., 4] and b [..., 4] -> [...], in [0, 1].

    It is 0 where neither has an area, or a coordinate is nan; torchvision's `box_iou` gives nan there.
    """
    shared = intersection(a, b)
    return _quotient(shared, area(a) + area(b) - shared)


def iou_of_sides(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> jax.Array:
    """`iou` of boxes as left, top, right and bottom, arrays [...] each: twenty times as fast on a CPU for many."""
    width = jnp.maximum(jnp.minimum(a[2], b[2]) - jnp.maximum(a[0], b[0]), 0)
    height = jnp.maximum(jnp.minimum(a[3], b[3]) - jnp.maximum(a[1], b[1]), 0)
    shared = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return _quotient(shared, areas - shared)


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU, in [-1, 1] (Rezatofighi et al. 2019, algorithm 1): IoU less the empty share of the hull."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    low, high = _hull(a, b)
    hull = (high - low)[..., 0] * (high - low)[..., 1]
    return _quotient(shared, union) - _quotient(hull - union, hull)


def diou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Distance IoU, in [-1, 1] (Zheng et al. 2020, eq. 7): less by the squared distance of the centres over that of the
    hull's corners."""
    low, high = _hull(a, b)
    diagonal = jnp.sum((high - low) ** 2, -1)
    apart = jnp.sum((_centre(a) - _centre(b)) ** 2, -1)
    return iou(a, b) - _quotient(apart, diagonal)


def ciou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Complete IoU (Zheng et al. 2020, eq. 8 to 11): DIoU less by how far the aspect ratios differ.

    As in the paper the weight of that term, alpha, is a constant for the gradient.
    """
    overlap = iou(a, b)
    differ = (4 / math.pi**2) * (_angle(b) - _angle(a)) ** 2
    alpha = jax.lax.stop_gradient(_quotient(differ, 1 - overlap + differ))
    return diou(a, b) - alpha * differ


def _hull(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Corners of the smallest box around both."""
    return jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])


def _centre(boxes: jax.Array) -> jax.Array:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _angle(boxes: jax.Array) -> jax.Array:
    """arctan(width / height), 0 for a box without sides, where the quotient's gradient would be nan."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return jnp.arctan2(width, jnp.where((width == 0) & (height == 0), 1, height))


def _quotient(x: jax.Array, y: jax.Array) -> jax.Array:
    """x / y where y is above 0, else 0, with finite gradients."""
    good = y > 0
    return jnp.where(good, x / jnp.where(good, y, 1), 0)


def to_centres(boxes: jax.Array) -> jax.Array:
    """Corners [..., 4] -> (centre x, centre y, width, height) [..., 4]."""
    return jnp.concatenate([_centre(boxes), boxes[..., 2:] - boxes[..., :2]], -1)


def from_centres(boxes: jax.Array) -> jax.Array:
    """The inverse of `to_centres`."""
    half = boxes[..., 2:] * 0.5
    return jnp.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def clip(boxes: jax.Array, height: int | jax.Array, width: int | jax.Array) -> jax.Array:
    """The parts of boxes [..., 4] that lie within an image. One outside of it keeps no area."""
    x, y = jnp.clip(boxes[..., 0::2], 0, width), jnp.clip(boxes[..., 1::2], 0, height)
    return jnp.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def encode_deltas(boxes: jax.Array, anchors: jax.Array, weights: Sequence[float] = (1, 1, 1, 1)) -> jax.Array:
    """What takes anchors [..., 4] to boxes [..., 4]: shifts of the centre in sides of the anchor, logarithms of growth.

    Ren et al. 2015 (arXiv:1506.01497), eq. 2, each number times its weight. A box without a side has a finite code,
    which means nothing.
    """
    box, anchor = to_centres(boxes), to_centres(anchors)
    tiny = jnp.finfo(boxes.dtype).tiny
    shift = (box[..., :2] - anchor[..., :2]) / anchor[..., 2:]
    growth = jnp.log(jnp.maximum(box[..., 2:] / anchor[..., 2:], tiny))
    return jnp.concatenate([shift, growth], -1) * jnp.asarray(weights, boxes.dtype)


def decode_deltas(
    deltas: jax.Array, anchors: jax.Array, weights: Sequence[float] = (1, 1, 1, 1), limit: float = LARGEST_GROWTH
) -> jax.Array:
    """The inverse of `encode_deltas`; a side grows by at most exp(limit), and shrinks without a limit."""
    anchor = to_centres(anchors)
    deltas = deltas / jnp.asarray(weights, deltas.dtype)
    centre = deltas[..., :2] * anchor[..., 2:] + anchor[..., :2]
    sides = jnp.exp(jnp.minimum(deltas[..., 2:], limit)) * anchor[..., 2:]
    return from_centres(jnp.concatenate([centre, sides], -1))


def encode_distances(boxes: jax.Array, points: jax.Array) -> jax.Array:
    """Distances (left, top, right, bottom) [..., 4] from points (x, y) [..., 2] to the sides of boxes [..., 4].

    All are positive where the point lies inside (Tian et al. 2019, eq. 1).
    """
    return jnp.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def decode_distances(distances: jax.Array, points: jax.Array) -> jax.Array:
    """The inverse of `encode_distances`."""
    return jnp.concatenate([points - distances[..., :2], points + distances[..., 2:]], -1)
