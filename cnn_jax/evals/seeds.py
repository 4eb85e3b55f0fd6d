"""How sure a mean over training seeds is, and the difference of two such means: Student's t intervals."""

import functools
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals.evaluator import Score

LEVEL = 0.95
Spread = TypeVar("Spread", float, NDArray[np.float64])


def mean(values: Sequence[float]) -> Score:
    """The mean of the scores of some seeds, with its 95 % interval; without one where there is a single seed.

    It says where the mean over very many seeds lies if the scores are normally distributed, whatever the number of
    seeds: of two it is nine standard deviations to either side, which is what two can tell.
    """
    if len(values) < 2:
        return Score(values[0])
    return Score(*(float(number[0]) for number in means(np.array(values, dtype=float)[:, None])))


def means(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`mean` of each column of values [seeds, N], two seeds or more: means, lower and upper bounds [N]. NaN stays."""
    count = len(values)
    with np.errstate(over="ignore", invalid="ignore"):  # of a network that was about to diverge
        middle = values.mean(0)
        half = half_interval(values.std(0, ddof=1), count)
        return middle, middle - half, middle + half


def half_interval(spread: Spread, count: int) -> Spread:
    """Half of the 95 % interval of the mean of `count` seeds, two or more, of this standard deviation."""
    return _quantile(count - 1) / math.sqrt(count) * spread


def difference(less: Sequence[float], more: Sequence[float]) -> Score:
    """The mean of `more` minus that of `less`, with its 95 % interval; each are the scores of two seeds or more.

    Welch (1947): the two need not spread alike.
    """
    gain = float(np.mean(more) - np.mean(less))
    counts = np.array([len(less), len(more)])
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.array([np.var(less, ddof=1), np.var(more, ddof=1)]) / counts
        error = float(np.sqrt(squares.sum()))
        if error == 0 or not math.isfinite(error):
            return Score(gain, gain - error, gain + error)
        shares = squares / squares.sum()  # their squares are none too small for a float, as those of scores may be
    half = _quantile(float(1 / (shares**2 / (counts - 1)).sum())) * error
    return Score(gain, gain - half, gain + half)


@functools.cache
def _quantile(freedom: float) -> float:
    """Of Student's t, that which it stays below with probability 97.5 %."""
    from scipy.special import stdtrit  # it takes its time to start

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
