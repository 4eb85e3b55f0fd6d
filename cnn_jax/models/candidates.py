"""From the scores of many thousand anchors to the detections of an image: the best of each level, then suppression.

Anchors are reduced before anything is decoded: first to those whose best class is among the best, then to the best
pairs of anchor and class. A pair among the best K has an anchor among the best K, so that nothing is lost.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.models.detector import Detections, found
from cnn_jax.ops.nms import nms


class Candidates(NamedTuple):
    """Boxes [B, N, 4] in pixels of the example, scores [B, N], labels [B, N]; valid: [B, N] False for what is none."""

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    valid: jax.Array


class Pairs(NamedTuple):
    """Anchors with a class, in order of falling scores: scores, anchors and labels [B, K]."""

    scores: jax.Array
    anchors: jax.Array
    labels: jax.Array


def size_of(x: jax.Array) -> tuple[int, int]:
    """Height and width of [B, H, W, C]."""
    return x.shape[1], x.shape[2]


def best_anchors(highest: jax.Array, most: int) -> jax.Array:
    """Places [B, K] of the `most` anchors, at most, with the highest score of any class, [B, A]."""
    return jax.lax.top_k(highest, min(most, highest.shape[1]))[1]


def best_pairs(scores: jax.Array, anchors: jax.Array, most: int) -> Pairs:
    """The `most` best pairs of scores [B, A, C] of the anchors at places [B, A]."""
    batch, count, classes = scores.shape
    values, places = jax.lax.top_k(scores.reshape(batch, -1), min(most, count * classes))
    return Pairs(values, jnp.take_along_axis(anchors, places // classes, 1), places % classes)


def taken(x: jax.Array, places: jax.Array) -> jax.Array:
    """x [B, A, C] at places [B, K] -> [B, K, C]."""
    return jnp.take_along_axis(x, places[..., None], 1)


def within(boxes: jax.Array, content: jax.Array) -> jax.Array:
    """The parts of boxes [B, N, 4] inside of one box of each example, [B, 4]."""
    low, high = jnp.tile(content[:, None, :2], 2), jnp.tile(content[:, None, 2:], 2)
    return jnp.clip(boxes, low, high)


def detected(levels: list[Candidates], threshold: float, most: int) -> Detections:
    """The `most` best candidates of all levels that no better one of their class overlaps by more than `threshold`."""
    boxes, scores, labels, valid = (jnp.concatenate(parts, 1) for parts in zip(*levels, strict=True))
    kept = nms(boxes, scores, threshold, most, classes=labels, valid=valid)
    scores, labels = (jnp.take_along_axis(x, kept.indices, 1) for x in (scores, labels))
    return found(taken(boxes, kept.indices), scores, labels, kept.valid)
