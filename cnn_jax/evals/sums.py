"""Sums of whole numbers over a set, and over resamples of it: scores that are ratios of sums, with their intervals.

All is exact: the sums depend neither on the order of the images, nor on how many batches or processes shared them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnn_jax.evals import bootstrap
from cnn_jax.evals.evaluator import Score

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNIT = 2.0**-30  # of a score of one image, which is rounded to it

Totals = Ints


def start(columns: int) -> Totals:
    """Sums [1 + R, columns] of no images: row 0 of the set, the others of its R resamples."""
    return np.zeros((1 + bootstrap.RESAMPLES, columns), np.int64)


def of(terms: Ints, index: ArrayLike) -> Totals:
    """Sums of images index [N], each of which has terms [N, columns]: whole numbers, whose sum is below 2^49."""
    weights = np.concatenate([np.ones((len(terms), 1)), bootstrap.weights(index)], 1)
    return (weights.T @ terms.astype(np.float64)).astype(np.int64)  # whole numbers below 2^53 all along: exact


def whole(scores: Floats) -> Ints:
    """Scores of images as terms, in UNIT; nan as 0."""
    return np.rint(np.nan_to_num(scores) / UNIT).astype(np.int64)


def ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """above / below; nan where there is nothing below."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.full(np.broadcast_shapes(above.shape, below.shape), np.nan), where=below > 0)


def score(values: Floats) -> Score:
    """Values [1 + R] of a set and its resamples as a score; without an interval where none of them is known."""
    low, high = interval(values[:, None])
    return Score(float(values[0]), *((float(low[0]), float(high[0])) if np.isfinite(low[0]) else (None, None)))


def interval(values: Floats) -> tuple[Floats, Floats]:
    """The lower and upper bounds [K] of scores [1 + R, K]; nan where a score is.

    Left out are resamples in which there is nothing that a score is about.
    """
    bounds = np.full((2, values.shape[1]), np.nan)
    for column in np.flatnonzero(np.isfinite(values[0])):
        known = values[1:, column]
        known = known[np.isfinite(known)]
        if len(known):
            bounds[:, column] = bootstrap.interval(known)
    return bounds[0], bounds[1]
