"""How far the scores of a test set would move with another sample of examples: intervals by the Poisson bootstrap.

Each example counts in each resample as often as a Poisson number of mean 1 says, which is drawn from a hash of its
index (Chamandy et al. 2012, "Estimating uncertainty for massive data streams", section 3). So a set can be visited in
any order, in batches of any size and by several processes, and gives the same intervals bit by bit.
"""

import functools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnn_jax.data.keyed import mixed

RESAMPLES = 1000
LEVEL = 0.95
# Terms are rounded to this, so that sums of a million of them are exact in float64, whatever their order.
UNIT = 2.0**-24
LARGEST = 2.0**20  # terms beyond it count as it: a likelihood of e^-1000000 is as bad as can be
NORMAL = 1.959963984540054  # the normal distribution has 95 % within so many standard deviations

Totals = NDArray[np.float64]


def start(columns: int) -> Totals:
    """Totals [RESAMPLES, columns + 1] of no examples; the last column counts."""
    return np.zeros((RESAMPLES, columns + 1))


def add(totals: Totals, terms: NDArray[np.float64], index: ArrayLike) -> Totals:
    """Totals with examples index [N], each of which adds terms [N, columns] to the sums of a resample."""
    exact = np.clip(np.rint(terms / UNIT), -LARGEST / UNIT, LARGEST / UNIT)
    exact = np.column_stack([exact, np.full(len(terms), 1 / UNIT)])
    return totals + (exact.T @ weights(index).astype(np.float64)).T  # faster than the transposed product


def weights(index: ArrayLike) -> NDArray[np.uint8]:
    """How often each example index [N] counts in each resample, [N, RESAMPLES]."""
    words = mixed(np.asarray(index)[:, None], np.arange(RESAMPLES // 4))  # four draws of 16 bits each
    return np.take(_poisson(), words.view(np.uint16))  # three times as fast as an index in brackets


def means(totals: Totals) -> NDArray[np.float64]:
    """The mean of each term in each resample, [RESAMPLES, columns]."""
    return totals[:, :-1] / np.maximum(totals[:, -1:], 1 / UNIT)


def interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of a score from its values [RESAMPLES] (Efron & Tibshirani 1993, section 13.3).

    It says how sure the score of this one model is, not how another training seed would do.
    """
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def share_interval(share: float, count: int, samples: NDArray[np.float64]) -> tuple[float, float]:
    """`interval` of a share of `count` examples, and Wilson's (1927) where all of them or none are in it.

    There every resample has the same share: no interval at all would come out, as if 3 of 3 were as sure as 3 million.
    """
    if 0 < share < 1:
        return interval(samples)
    square = NORMAL**2
    middle, half = (share + square / (2 * count)) / (1 + square / count), NORMAL / (1 + square / count)
    half *= math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # The one bound that is the share itself is so but for rounding.
    return (0.0, middle + half) if share <= 0 else (middle - half, 1.0)


@functools.cache
def _poisson() -> NDArray[np.uint8]:
    """Draws of a Poisson distribution of mean 1 by the 65,536 values of 16 bits."""
    probabilities = [math.exp(-1) / math.factorial(k) for k in range(16)]
    return np.searchsorted(np.cumsum(probabilities), (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.uint8)
