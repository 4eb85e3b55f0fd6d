"""Non-maximum suppression: of boxes that overlap, the one with the highest score stays.

Exact for every threshold, in order of falling scores, with static shapes. Of equal scores the first box comes first.
A box suppresses those of lower score whose IoU with it is above the threshold and, where classes are given, that are of
the same class, compared by equality: no offset is added to coordinates, whose last bits that would cost.

The threshold is a Python number, compared as it is with a float32 quotient, as PyTorch's C++ does: 6/10 in float32 is
above 0.6, 7/10 is not above 0.7.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.boxes import iou, iou_of_sides

BLOCK = 64  # boxes that are compared with one another at once
PICKED = 32  # boxes that are found without sorting all


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
    boxes are kept. On a CPU the first few are picked by their scores: where a handful of boxes suppresses all others,
    sorting them would take most of the time.

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
    one_by_one = _is_cpu()
    suppress = _by_picking if one_by_one else functools.partial(_by_order, _by_blocks)
    function = functools.partial(suppress, _not_above(threshold), most)
    if scores.ndim == 1:
        return function(boxes, scores, classes, valid)
    images = (boxes, scores, classes, valid)
    if one_by_one:  # a map keeps the branch by which suppressed boxes are skipped; vmap would compute both sides of it
        return lax.map(lambda image: function(*image), images)
    return jax.vmap(function)(*images)


def _is_cpu() -> bool:
    return jax.default_backend() == "cpu"


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


def _by_order(
    suppress: Suppress,
    threshold: np.float32,
    most: int,
    boxes: jax.Array,
    scores: jax.Array,
    classes: jax.Array,
    valid: jax.Array,
) -> Kept:
    # By integers, and by place where these are equal: that takes two thirds of the time of a stable sort of the scores.
    falling = jnp.where(valid, ~_as_integers(scores), jnp.iinfo(jnp.int32).max)
    _, order = lax.sort((falling, jnp.arange(len(boxes), dtype=jnp.int32)), num_keys=2, is_stable=False)
    keep = suppress(boxes[order], classes[order], valid[order], threshold, most)
    # The first `most` of those that stay, in order.
    rank = jnp.where(keep, jnp.cumsum(keep) - 1, most)
    places = jnp.zeros(most, jnp.int32).at[rank].set(order, mode="drop")
    return Kept(places, jnp.arange(most) < jnp.minimum(keep.sum(), most))


def _by_picking(
    threshold: np.float32, most: int, boxes: jax.Array, scores: jax.Array, classes: jax.Array, valid: jax.Array
) -> Kept:
    """PICKED times the best box that is left, and then, of what is left, box after box in order."""
    few, none = min(PICKED, most), jnp.iinfo(jnp.int32).min
    sides, places = _sides(boxes), jnp.arange(len(boxes), dtype=jnp.int32)

    def best(left: jax.Array) -> tuple[jax.Array, jax.Array]:
        highest = left.max(initial=none)
        return highest, jnp.where(left == highest, places, len(boxes) - 1).min(initial=len(boxes) - 1)

    def more(state: Any) -> jax.Array:
        return (state[0] < few) & (state[1] > none)

    def pick(state: Any) -> Any:
        count, _, i, left, kept = state
        lost = (_overlaps(sides, i) > threshold) & (classes == classes[i])
        left = jnp.where(lost | (places == i), none, left)
        return (count + 1, *best(left), left, lax.dynamic_update_index_in_dim(kept, i, count, 0))

    def go_on(count: jax.Array, left: jax.Array, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
        rest = _by_order(_by_rows, threshold, most, boxes, scores, classes, left > none)
        further = jnp.where(rest.valid, count + jnp.arange(most), most)
        return jnp.minimum(count + rest.valid.sum(dtype=jnp.int32), most), kept.at[further].set(
            rest.indices, mode="drop"
        )

    left = jnp.where(valid, _as_integers(scores), none)
    start = (jnp.int32(0), *best(left), left, jnp.zeros(most, jnp.int32))
    count, highest, _, left, kept = lax.while_loop(more, pick, start)
    unfinished = (highest > none) & (count < most)
    count, kept = lax.cond(unfinished, go_on, lambda count, left, kept: (count, kept), count, left, kept)
    return Kept(kept, jnp.arange(most) < count)


def _as_integers(scores: jax.Array) -> jax.Array:
    """Integers in the order of the scores, above the least there is: their largest is found four times as fast."""
    single = scores.astype(jnp.float32)
    bits = lax.bitcast_convert_type(jnp.where(single == 0, 0, single), jnp.int32)  # -0 is 0
    return jnp.where(bits < 0, bits ^ jnp.iinfo(jnp.int32).max, bits)


def _sides(boxes: jax.Array) -> tuple[jax.Array, ...]:
    """Left, top, right and bottom [N], each in one piece of memory, so that 16 are computed at once."""
    return tuple(boxes[:, side] for side in range(4))


def _overlaps(sides: tuple[jax.Array, ...], i: jax.Array) -> jax.Array:
    """IoU of box i with each [N]."""
    return iou_of_sides(tuple(side[i] for side in sides), sides)


def _by_rows(boxes: jax.Array, classes: jax.Array, keep: jax.Array, threshold: np.float32, most: int) -> jax.Array:
    """Of boxes in order, valid ones first, those that stay [N], the first `most` at least: box after box."""
    sides, places, count = _sides(boxes), jnp.arange(len(boxes)), keep.sum()

    def suppressed_by(i: jax.Array, keep: jax.Array) -> jax.Array:
        return keep & ~((_overlaps(sides, i) > threshold) & (classes == classes[i]) & (places > i))

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
