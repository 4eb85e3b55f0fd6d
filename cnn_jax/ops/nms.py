"""Non-maximum suppression: of boxes that overlap, the one with the highest score stays.

Exact for every threshold, in order of falling scores, with static shapes. Of equal scores the first box comes first.
A box suppresses those of lower score whose IoU with it is above the threshold and, where classes are given, that are of
the same class, compared by equality: no offset is added to coordinates, whose last bits that would cost.

The threshold is a Python number, compared as it is with a float32 quotient, as PyTorch's C++ does: 6/10 in float32 is
above 0.6, 7/10 is not above 0.7.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.boxes import iou

BLOCK = 64  # boxes that are compared with one another at once


class Kept(NamedTuple):
    """What stays of N boxes: their positions in order of falling scores [K], and which of these are real [K].

    Where fewer stay, the rest of `indices` is 0 and of `valid` False.
    """

    indices: jax.Array
    valid: jax.Array


def nms(
    boxes: jax.Array,
    scores: jax.Array,
    threshold: float,
    most: int,
    *,
    classes: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> Kept:
    """The boxes of one image, or of each of a batch, that no better box suppresses.

    On a CPU box after box is compared with the rest, skipping those that are suppressed already; elsewhere 64 at a
    time. The result is the same; the time is bounded by N comparisons with N boxes either way, and it ends once `most`
    boxes are kept.

    Args:
      boxes: [N, 4], or [B, N, 4].
      scores: [N], or [B, N]. A box whose score is nan does not count.
      threshold: the IoU above which a box is suppressed.
      most: how many are kept at most, K.
      classes: integers like scores; without them all boxes compete.
      valid: booleans like scores, False for padding.

    Raises:
      ValueError: shapes that do not fit together.
    """
    if boxes.shape != (*scores.shape, 4) or scores.ndim not in (1, 2):
        raise ValueError(f"nms wants boxes [N, 4] and scores [N], or a batch: got {boxes.shape}, {scores.shape}")
    boxes, scores, classes, valid = _arrays(boxes, scores, classes, valid)
    one_by_one = jax.default_backend() == "cpu"
    function = functools.partial(_nms, _by_rows if one_by_one else _by_blocks, _not_above(threshold), most)
    if scores.ndim == 1:
        return function(boxes, scores, classes, valid)
    images = (boxes, scores, classes, valid)
    if one_by_one:  # a map keeps the branch by which suppressed boxes are skipped; vmap would compute both sides of it
        return lax.map(lambda image: function(*image), images)
    return jax.vmap(function)(*images)


def _arrays(
    boxes: jax.Array, scores: jax.Array, classes: jax.Array | None, valid: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What is left out, filled in: one class, all valid. A box whose score is nan is not valid."""
    scores = jnp.asarray(scores)
    known = ~jnp.isnan(scores) if valid is None else jnp.asarray(valid) & ~jnp.isnan(scores)
    return jnp.asarray(boxes), scores, jnp.zeros(scores.shape, int) if classes is None else jnp.asarray(classes), known


def _not_above(threshold: float) -> np.float32:
    """The largest float32 that is not above a number: x > it is then x > threshold for every float32 x."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))


Suppress = Callable[[jax.Array, jax.Array, jax.Array, np.float32, int], jax.Array]


def _nms(
    suppress: Suppress,
    threshold: np.float32,
    most: int,
    boxes: jax.Array,
    scores: jax.Array,
    classes: jax.Array,
    valid: jax.Array,
) -> Kept:
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
    keep = suppress(boxes[order], classes[order], valid[order], threshold, most)
    # The first `most` of those that stay, in order.
    rank = jnp.where(keep, jnp.cumsum(keep) - 1, most)
    places = jnp.zeros(most, order.dtype).at[rank].set(order, mode="drop")
    return Kept(places, jnp.arange(most) < jnp.minimum(keep.sum(), most))


def _by_rows(boxes: jax.Array, classes: jax.Array, keep: jax.Array, threshold: np.float32, most: int) -> jax.Array:
    """Of boxes in order, valid ones first, those that stay [N], the first `most` at least: box after box."""
    places, count = jnp.arange(len(boxes)), keep.sum()

    def suppressed_by(i: jax.Array, keep: jax.Array) -> jax.Array:
        better = iou(boxes[i], boxes) > threshold
        return keep & ~(better & (classes == classes[i]) & (places > i))

    def more(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        i, found, _ = state
        return (i < count) & (found < most)

    def body(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        i, found, keep = state
        left = lax.cond(keep[i], functools.partial(suppressed_by, i), lambda keep: keep, keep)
        return i + 1, found + keep[i], left

    return lax.while_loop(more, body, (jnp.int32(0), jnp.int32(0), keep))[-1]


def _by_blocks(boxes: jax.Array, classes: jax.Array, keep: jax.Array, threshold: np.float32, most: int) -> jax.Array:
    """The same in blocks: within one a fixed point, in at most BLOCK rounds, then one comparison with the rest."""
    count = len(boxes)
    padding = -count % BLOCK
    boxes = jnp.pad(boxes, ((0, padding), (0, 0)))
    classes, keep = jnp.pad(classes, (0, padding)), jnp.pad(keep, (0, padding))
    places, last = jnp.arange(count + padding), keep.sum()

    def more(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        block, found, _ = state
        return (block * BLOCK < last) & (found < most)

    def body(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        block, found, keep = state
        start = block * BLOCK
        own = functools.partial(lax.dynamic_slice_in_dim, start_index=start, slice_size=BLOCK)
        overlaps = iou(own(boxes)[:, None], boxes[None]) > threshold
        overlaps &= (own(classes)[:, None] == classes) & (own(places)[:, None] < places)
        inside = lax.dynamic_slice_in_dim(overlaps, start, BLOCK, 1)
        alive = own(keep)

        def again(state: tuple[jax.Array, jax.Array]) -> jax.Array:
            return jnp.any(state[0] != state[1])

        def round_of(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            _, now = state
            return now, alive & ~jnp.any(inside & now[:, None], 0)

        # The first of a chain is right after no round, the second after one, and so on: it ends with the greedy answer.
        _, settled = lax.while_loop(again, round_of, (jnp.zeros_like(alive), alive))
        keep &= ~jnp.any(overlaps & settled[:, None], 0)
        return block + 1, found + settled.sum(dtype=jnp.int32), lax.dynamic_update_slice_in_dim(keep, settled, start, 0)

    return lax.while_loop(more, body, (jnp.int32(0), jnp.int32(0), keep))[-1][:count]


def soft_nms(
    boxes: jax.Array,
    scores: jax.Array,
    most: int,
    *,
    sigma: float = 0.5,
    threshold: float | None = None,
    lowest: float = 0.001,
    classes: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> tuple[Kept, jax.Array]:
    """Scores fall by overlap in place of boxes being suppressed (Bodla et al. 2017).

    Args:
      boxes: [N, 4].
      scores: [N], at least 0.
      most: how many are kept at most, K.
      sigma: of the Gaussian exp(-iou^2 / sigma) by which a better box lowers the score (eq. 3).
      threshold: in place of the Gaussian the factor 1 - iou where the IoU is above it (eq. 2).
      lowest: a box whose score falls below it is dropped.
      classes, valid: as for `nms`.

    Returns:
      What is kept, in order of falling lowered scores, and those scores [K], 0 where nothing is.
    """
    boxes, scores, classes, valid = _arrays(boxes, scores, classes, valid)
    current = jnp.where(valid, scores, -1.0)

    def pick(current: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        best = jnp.argmax(current)
        score = current[best]
        overlap = iou(boxes[best], boxes)
        if threshold is None:
            factor = jnp.exp(-(overlap**2) / sigma)
        else:
            factor = jnp.where(overlap > _not_above(threshold), 1 - overlap, 1.0)
        factor = jnp.where((classes == classes[best]) & (current > 0), factor, 1.0)
        return (current * factor).at[best].set(-1.0), (best, score)

    _, (indices, found) = lax.scan(pick, current, None, length=most)
    real = found >= lowest
    return Kept(jnp.where(real, indices, 0), real), jnp.where(real, found, 0.0)
