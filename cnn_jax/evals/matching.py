"""Which detection stands for which true object: by the overlap of boxes, the highest scores first."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals.found import CROWD, Detections, Floats, Ints, Truths, ranks

PAIRS = 1 << 20  # pairs of a detection and an object that are compared at a time


class Pairs(NamedTuple):
    """Detections and objects that overlap, by detection. found: [P], true: [P] positions; iou: [P]."""

    found: Ints
    true: Ints
    iou: Floats


def iou(found: Floats, true: Floats, crowd: NDArray[np.bool_]) -> Floats:
    """Intersection over union [N] of boxes [N, 4] as left, top, width, height, rounded as pycocotools does it.

    crowd: [N] where the union is the area of the detection alone.
    """
    low = np.maximum(found[:, :2], true[:, :2])
    sides = np.minimum(found[:, 2:] + found[:, :2], true[:, 2:] + true[:, :2]) - low
    both = np.where((sides > 0).all(1), sides[:, 0] * sides[:, 1], 0)
    area = found[:, 2] * found[:, 3]
    union = np.where(crowd, area, area + true[:, 2] * true[:, 3] - both)
    return both / np.where(both > 0, union, 1)


def overlapping(detections: Detections, truths: Truths, least: float, *, blind: bool = False) -> Pairs:
    """All pairs in one image, and of one class unless `blind`, whose IoU is at least `least`, which is above 0."""
    parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for found, true in _together(detections, truths, blind):
        shared = iou(detections.bounds[found], truths.bounds[true], truths.ignored[true] == CROWD)
        near = shared >= least
        parts.append(Pairs(found[near], true[near], shared[near]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _together(detections: Detections, truths: Truths, blind: bool) -> Iterator[tuple[Ints, Ints]]:
    """Positions (of detections, of objects) of all pairs of one image, and of one class unless `blind`, in pieces.

    By detection; those of one detection in the order of the objects, and in one piece.
    """
    width = 1 + max(detections.label.max(initial=0), truths.label.max(initial=0))
    groups = [set_.image if blind else set_.image * width + set_.label for set_ in (detections, truths)]
    order = np.argsort(groups[1], kind="stable")
    first = np.searchsorted(groups[1], groups[0], "left", sorter=order)
    count = np.searchsorted(groups[1], groups[0], "right", sorter=order) - first
    some = np.flatnonzero(count)
    ends = np.cumsum(count[some])
    start = 0
    while start < len(some):
        base = ends[start] - count[some[start]]
        stop = max(start + 1, int(np.searchsorted(ends, base + PAIRS, "right")))
        rows = some[start:stop]
        found = np.repeat(rows, count[rows])
        within = np.arange(len(found)) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
        yield found, order[first[found] + within]
        start = stop


class Matches(NamedTuple):
    """Of the detections that overlap with any object enough: which of them stand for which.

    found: [M] positions of the detections; true: [M, A, T] that of the object, -1 for none, for A ways to count objects
    and T thresholds.
    """

    found: Ints
    true: Ints


def greedy(
    pairs: Pairs, group: Ints, rank: Ints, counts: NDArray[np.bool_], crowd: NDArray[np.bool_], thresholds: Floats
) -> Matches:
    """Gives each detection, by rank, the free object of the largest IoU that is at least the threshold.

    As COCO does it: an object that does not count is given only where none is left that does; of equal IoUs the later
    object is taken; a crowd stays free.

    Args:
      pairs: those that may match.
      group, rank: [D] of each detection; those of one group are given theirs in the order of their ranks, and groups
        share no objects.
      counts: [G, A] whether an object counts.
      crowd: [G].
      thresholds: [T].
    """
    rows, place, width = np.unique(pairs.found, return_inverse=True, return_counts=True)
    shape = (len(rows), int(width.max(initial=0)))
    nobody = len(crowd)  # stands for no object, and is never free
    true, shared = np.full(shape, nobody), np.zeros(shape)
    true[place, ranks(place)], shared[place, ranks(place)] = pairs.true, pairs.iou
    # Larger for a larger IoU, of equal ones for a later object, and for one that counts above all others.
    value = 1 + np.argsort(np.argsort(shared, axis=1, kind="stable"), axis=1, kind="stable")
    counts = np.concatenate([counts, np.zeros((1, counts.shape[1]), bool)])
    free = np.ones((*counts.shape, len(thresholds)), bool)
    free[nobody] = False
    matched = np.full((len(rows), *free.shape[1:]), -1)
    for turn in _turns(group[rows], rank[rows]):
        those = true[turn]
        able = free[those] & (shared[turn][..., None, None] >= thresholds)
        wanted = value[turn][..., None] + shape[1] * counts[those]
        best = (able * wanted[..., None]).argmax(1)
        taken = np.take_along_axis(those, best.reshape(len(turn), -1), 1).reshape(best.shape)
        hit = np.take_along_axis(able, best[:, None], 1)[:, 0]
        matched[turn] = np.where(hit, taken, -1)
        one, way, level = np.nonzero(hit)
        free[taken[one, way, level], way, level] = np.append(crowd, False)[taken[one, way, level]]
    return Matches(rows, matched)


def _turns(group: Ints, rank: Ints) -> Iterator[Ints]:
    """Positions of the first of each group, of the second of each, and so on."""
    order = np.lexsort((rank, group))
    turn = ranks(group[order])
    by_turn = np.argsort(turn, kind="stable")
    for some in np.split(order[by_turn], np.flatnonzero(np.diff(turn[by_turn])) + 1):
        if len(some):
            yield some
