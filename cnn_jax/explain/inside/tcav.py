"""TCAV: how much a concept that examples show counts for a class, with its statistical test (Kim et al. 2018)."""

from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from cnn_jax.explain.attribution import LayerScore
from cnn_jax.explain.program import split

RUNS = 10  # sets of random examples, the least with which the authors test
STRENGTH = 1.0  # of the ridge, as a share of the mean squared size of a vector
ROUNDING = 1e-12  # of a share, in what is otherwise equal


class Tcav(NamedTuple):
    """score: the share of a class's examples whose logit grows towards the concept, mean over RUNS.

    scores: [runs] of the concept; random: [runs] of random examples in its place. accuracy: with which the concept is
    told from random examples that it was not learnt from: near 0.5 the layer does not know it. p: of a two-sided t-test
    that both have one mean; corrected: times the number of tests (Bonferroni), at most 1.
    """

    score: float
    scores: NDArray[np.float64]
    random: NDArray[np.float64]
    accuracy: float
    p: float
    corrected: float


def tcav(
    concept: np.ndarray, others: np.ndarray, slopes: np.ndarray, *, runs: int = RUNS, tests: int = 1, seed: int = 0
) -> Tcav:
    """The test of one concept, one class and one layer, arXiv:1711.11279, sections 3.3 and 3.5.

    Args:
      concept: [n, D], what the layer makes of examples of the concept, flat or as the mean over positions.
      others: [m, D], of random examples; m at least 2 n.
      slopes: [N, D], gradients of the class's logit by the layer, at examples of the class.
      runs: how often another n of the random examples are drawn.
      tests: how many concepts, classes and layers are tested in all.

    Raises ValueError for too few examples.
    """
    count = len(concept)
    if count < 2 or len(others) < 2 * count or runs < 2:
        raise ValueError(
            f"TCAV of {count} examples of a concept needs {max(2 * count, 4)} random ones and two runs at least: "
            f"there are {len(others)}, and {runs} runs"
        )
    draw = np.random.default_rng(seed)
    scores, random, right = np.zeros(runs), np.zeros(runs), []
    held = max(count // 4, 1)
    for run in range(runs):
        first, second = (others[rows] for rows in draw.permutation(len(others))[: 2 * count].reshape(2, count))
        shuffled = concept[draw.permutation(count)]
        towards, middle = cav(shuffled[held:], first[held:])
        right.append(((shuffled[:held] @ towards > middle).mean() + (first[:held] @ towards <= middle).mean()) / 2)
        scores[run] = (slopes @ cav(concept, first)[0] > 0).mean()
        random[run] = (slopes @ cav(second, first)[0] > 0).mean()
    p = _same_mean(scores, random)
    return Tcav(float(scores.mean()), scores, random, float(np.mean(right)), p, min(p * tests, 1.0))


def layer_slopes(g: LayerScore, x: jax.Array, layer: str) -> tuple[jax.Array, jax.Array]:
    """What a layer makes of x, mean over positions, and the gradient of the score by it, [B, D] each.

    The gradient by a change that is the same at all positions, which is what the mean sees: the sum over positions.
    """
    maps, rest = split(g, x, layer)
    slopes = jax.grad(lambda maps: rest(maps).sum())(maps)
    axes = tuple(range(1, maps.ndim - 1))
    return maps.mean(axes), slopes.sum(axes)


def cav(positive: np.ndarray, negative: np.ndarray) -> tuple[NDArray[np.float64], float]:
    """The concept activation vector [D] of length 1, which points to the positive, and where along it they part.

    Ridge regression on +1 and -1, which needs no iterations; the authors use a linear classifier by gradient descent.
    """
    rows = np.concatenate([positive, negative]).astype(np.float64)
    labels = np.repeat([1.0, -1.0], [len(positive), len(negative)])
    mean = rows.mean(0)
    rows = rows - mean
    kernel = rows @ rows.T  # as many as there are examples: D may be large
    ridge = STRENGTH * max(np.trace(kernel) / len(rows), 1e-12)
    vector = rows.T @ np.linalg.solve(kernel + ridge * np.eye(len(rows)), labels - labels.mean())
    vector /= max(np.linalg.norm(vector), 1e-12)
    middle = (positive.mean(0) @ vector + negative.mean(0) @ vector) / 2
    return vector, float(middle)


def _same_mean(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """p of Student's t-test; where neither varies but by rounding, 1 if they are equal and else 0."""
    if max(np.ptp(a), np.ptp(b)) < ROUNDING:
        return 1.0 if abs(a[0] - b[0]) < ROUNDING else 0.0
    from scipy.stats import ttest_ind

    return float(ttest_ind(a, b).pvalue)
