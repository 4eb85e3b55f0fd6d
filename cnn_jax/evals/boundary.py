"""How well the outlines of classes are met: the boundary F score of Csurka et al. 2013.

"What is a good evaluation measure for semantic segmentation?", British Machine Vision Conference 2013, section 3.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import IGNORED

Map = NDArray[np.uint8]
Floats = NDArray[np.float64]

TOLERANCE = 0.0075  # of the diagonal of the image, Csurka et al.'s


def boundary_f(truth: Map, said: Map, classes: int, tolerance: float = TOLERANCE) -> Floats:
    """The boundary F score [classes] of one image: 2 p r / (p + r).

    The boundary of a class is those of its pixels that have one of another class above, below, left or right of them.
    p is the share of the predicted boundary that lies no further than the tolerance, in a straight line, from the true
    boundary of that class; r the share of the true boundary that lies so near to the predicted one.
    nan for a class that has a boundary in neither map, 0 for one that has it in one of them alone.

    Neither the border of the image nor that of what is IGNORED in `truth` is a boundary, and predictions there do not
    count: in a set that ignores a band around all objects, as PASCAL VOC does, there is little that this could score.

    Args:
      truth, said: [H, W], classes.
      classes: how many there are.
      tolerance: in pixels from 1 on; below 1 as a share of the diagonal of the image, though 1 pixel at least.
    """
    reach = tolerance if tolerance >= 1 else max(tolerance * math.hypot(*truth.shape), 1.0)
    real, found = (_outlines(each, truth != IGNORED) for each in (truth, said))
    offsets = _disc(reach)
    precision_hits, precision_all = _near(found, real, offsets, classes)
    recall_hits, recall_all = _near(real, found, offsets, classes)
    # 2 p r / (p + r) with p = a / b, r = c / d, without the division by zero where both are.
    above = 2.0 * precision_hits * recall_hits
    below = precision_hits * recall_all + recall_hits * precision_all
    score = np.divide(above, below, out=np.zeros(classes), where=below > 0)
    return np.where(precision_all + recall_all > 0, score, np.nan)


def _outlines(classes: Map, counted: NDArray[np.bool_]) -> Map:
    """The map with all but the boundaries of its classes IGNORED."""
    edge = np.zeros(classes.shape, bool)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ = (classes[before] != classes[after]) & counted[before] & counted[after]
        edge[before] |= differ
        edge[after] |= differ
    return np.where(edge, classes, np.uint8(IGNORED))


def _disc(reach: float) -> list[tuple[int, int]]:
    """The steps down and to the right that are no longer than `reach`, the shortest first."""
    far = math.floor(reach)
    side = range(-far, far + 1)
    steps = [(y, x) for y in side for x in side if y * y + x * x <= reach * reach]
    return sorted(steps, key=lambda step: step[0] ** 2 + step[1] ** 2)


def _near(
    these: Map, others: Map, offsets: list[tuple[int, int]], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many pixels [classes] of `these` outlines have one of the same class in `others` near them, and all."""
    far = max(down for down, _ in offsets)
    padded = np.pad(others, far, constant_values=IGNORED)
    y, x = np.nonzero(these != IGNORED)
    labels = these[y, x]
    flat, width = padded.ravel(), padded.shape[1]
    count = np.bincount(labels, minlength=classes)
    some = np.isin(labels, others)  # the others have nothing near
    place, rest = ((y + far) * width + x + far)[some], labels[some]
    near = np.bincount(rest, minlength=classes)
    # Most of them have: they are done with after the first few steps.
    for down, right in offsets:
        away = flat[place + down * width + right] != rest
        place, rest = place[away], rest[away]
        if not len(place):
            break
    return near - np.bincount(rest, minlength=classes), count
