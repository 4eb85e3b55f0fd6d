"""The scores of maps of classes by their definitions, pixel by pixel: what the evaluator must give."""

import math
from collections.abc import Sequence

import numpy as np

from cnn_jax.data.spec import IGNORED

Maps = Sequence[np.ndarray]


def pixels(truth: Maps, said: Maps) -> list[tuple[int, int]]:
    """True and predicted class of each pixel that counts."""
    pairs = zip((t.ravel() for t in truth), (s.ravel() for s in said), strict=True)
    return [(int(t), int(s)) for one, other in pairs for t, s in zip(one, other, strict=True) if t != IGNORED]


def overlap(pairs: Sequence[tuple[int, int]], one: Sequence[int]) -> tuple[float, float]:
    """IoU and Dice of the classes `one` taken together."""
    both = sum(t in one and s in one for t, s in pairs)
    either = sum(t in one or s in one for t, s in pairs)
    return (both / either, 2 * both / (either + both)) if either else (math.nan, math.nan)


def by_set(truth: Maps, said: Maps, classes: int) -> np.ndarray:
    """IoU and Dice [2, K]."""
    pairs = pixels(truth, said)
    return np.array([overlap(pairs, [k]) for k in range(classes)]).T


def by_image(truth: Maps, said: Maps, classes: int) -> np.ndarray:
    """IoU and Dice [2, K], the means over the images that have the class in one of both maps."""
    each = [by_set([t], [s], classes) for t, s in zip(truth, said, strict=True)]
    return np.array([[mean([one[score, k] for one in each]) for k in range(classes)] for score in (0, 1)])


def accuracy(truth: Maps, said: Maps, classes: int) -> np.ndarray:
    """Share [K] of the true pixels that are found."""
    pairs = pixels(truth, said)
    return np.array([mean([float(s == k) for t, s in pairs if t == k]) for k in range(classes)])


def boundary(truth: Maps, said: Maps, classes: int, reach: float) -> np.ndarray:
    """Boundary F [K], the mean over images."""
    each = [[_boundary(t, s, t != IGNORED, k, reach) for k in range(classes)] for t, s in zip(truth, said, strict=True)]
    return np.array([mean(list(column)) for column in zip(*each, strict=True)])


def _boundary(truth: np.ndarray, said: np.ndarray, counted: np.ndarray, label: int, reach: float) -> float:
    real, found = (_edge(each, counted, label) for each in (truth, said))
    if not real and not found:
        return math.nan
    if not real or not found:
        return 0.0
    near = [
        [min(math.dist(a, b) for b in others) <= reach for a in some] for some, others in ((found, real), (real, found))
    ]
    precision, recall = (sum(row) / len(row) for row in near)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _edge(classes: np.ndarray, counted: np.ndarray, label: int) -> list[tuple[int, int]]:
    height, width = classes.shape
    places = [(y, x) for y in range(height) for x in range(width) if counted[y, x] and classes[y, x] == label]
    around = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def differs(y: int, x: int) -> bool:
        return 0 <= y < height and 0 <= x < width and bool(counted[y, x]) and bool(classes[y, x] != label)

    return [(y, x) for y, x in places if any(differs(y + down, x + right) for down, right in around)]


def mean(values: Sequence[float]) -> float:
    """Of what is not nan."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
