"""COCO's figures of resampled sets, from which their intervals come.

The matches of an image do not depend on other images: they are made once, and in a resample each image counts as often
as it was drawn.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals.average_precision import KEPT, RANGES, RECALLS, THRESHOLDS, Ranked
from cnn_jax.evals.found import Floats, Ints


class Resampled(NamedTuple):
    """Of R resamples, T thresholds, K classes, A ranges of sizes; nan where no object is.

    precision: [R, T, K, A] average precision; recall: [R, T, K, A, len(KEPT)].
    """

    precision: Floats
    recall: Floats


def resampled(found: list[Ranked], classes: int, weights: NDArray[np.uint8]) -> Resampled:
    """Average precision and recall with each image as often as weights [N, R] say."""
    shape = (weights.shape[1], len(THRESHOLDS), classes, len(RANGES))
    precision, recall = np.full(shape, np.nan), np.full((*shape, len(KEPT)), np.nan)
    for one in found:
        objects = weights[one.objects].sum(0, dtype=np.int32)
        some = one.hit.any(0) | (one.counts != one.counts[0]).any(0)
        drawn = weights[one.image]
        before = _before(drawn * (one.counts[0] & ~some)[:, None], some)
        precision[:, :, one.label, one.range], recall[:, :, one.label, one.range] = _counted(
            drawn[some].astype(np.int32), before, one.hit[:, some], one.counts[:, some], one.rank[some], objects
        )
    return Resampled(precision, recall)


def _before(wrong: NDArray[np.uint8], some: NDArray[np.bool_]) -> Ints:
    """How many are wrong, of rows [D, R] of counts, before each row that is in `some` [D], as [U, R].

    Rows in `some` must be 0.
    """
    if not some.any():
        return np.zeros((0, wrong.shape[1]), np.int32)
    pieces = np.add.reduceat(wrong, np.append(0, np.flatnonzero(some)), axis=0, dtype=np.int32)
    return np.cumsum(pieces[:-1], 0, dtype=np.int32)


def _counted(
    own: Ints, before: Ints, hit: NDArray[np.bool_], counts: NDArray[np.bool_], rank: Ints, objects: Ints
) -> tuple[Floats, Floats]:
    """Average precision [R, T] at RECALLS, and recall [R, T, len(KEPT)], of one class and range of sizes.

    own: [U, R] how often each detection counts that is not simply wrong, the highest score first; before: [U, R] how
    many of the wrong come before; hit, counts: [T, U], rank: [U], as `Ranked` has them; objects: [R].
    """
    levels, samples = len(hit), own.shape[1]
    precision, recall = np.zeros((samples, levels)), np.zeros((samples, levels, len(KEPT)))
    for level in range(levels):
        rows = np.flatnonzero(hit[level])
        if len(rows):
            found = own[rows]
            right = np.cumsum(found, 0)
            said = before[rows] + np.cumsum(own * counts[level][:, None], 0)[rows]
            # Where precision is at its best is at a detection that is right, and it is reached for all recalls that
            # the ones before it have not reached.
            envelope = np.maximum.accumulate((right / (said + np.spacing(1)))[::-1], axis=0)[::-1]
            reached = _reached(right / np.maximum(objects, 1))
            precision[:, level] = (np.diff(reached, axis=0, prepend=0) * envelope).sum(0) / len(RECALLS)
            recall[:, level] = np.stack([found[rank[rows] < most].sum(0) for most in KEPT], 1)
    none = np.where(objects > 0, 1, np.nan)
    return precision * none[:, None], recall / (objects * none)[:, None, None]


def _reached(recall: Floats) -> Ints:
    """How many of RECALLS are reached."""
    level = (recall * 100 + 1e-9).astype(np.int64)
    return level + (recall >= RECALLS[level])


def twelve(found: Resampled) -> Floats:
    """COCO's figures [R, 12] by their `average_precision.NAMES`."""
    precision, recall = found
    everything, sizes = precision[..., 0], range(1, len(RANGES))
    parts = [everything, everything[:, THRESHOLDS == 0.5], everything[:, THRESHOLDS == 0.75]]
    parts += [precision[..., size] for size in sizes]
    parts += [recall[..., 0, most] for most in range(len(KEPT))] + [recall[..., size, -1] for size in sizes]
    return np.stack([mean_known(part.reshape(len(part), -1)) for part in parts], 1)


def mean_known(values: Floats) -> Floats:
    """The mean along the last axis of what is not nan; nan where all is."""
    known = np.isfinite(values)
    count = known.sum(-1)
    return np.where(count > 0, np.where(known, values, 0).sum(-1) / np.maximum(count, 1), np.nan)
