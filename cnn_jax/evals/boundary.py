"""How well the outlines of classes are met: the boundary F score of Csurka et al. 2013.

"What is a good evaluation measure for semantic segmentation?", British Machine Vision Conference 2013, section 3.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import IGNORED

Map = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
    precision_hits, precision_all = _near(found, real, reach, classes)
    recall_hits, recall_all = _near(real, found, reach, classes)
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


def _near(these: Map, others: Map, reach: float, classes: int) -> tuple[Ints, Ints]:
    """How many pixels [classes] of `these` outlines have one of the same class in `others` near them, and all."""
    far = math.floor(reach)
    # Numbers by class, row and column, with so much room between rows that what is near in one of them are the numbers
    # between two others. That takes twice the reach of steps for each pixel, where trying all places around it would
    # take three times its square.
    height, width = these.shape[0] + 2 * far, these.shape[1] + 2 * far
    left, theirs = (_numbered(outlines, far, height, width) for outlines in (these, others))
    theirs = np.append(theirs, np.iinfo(np.int64).max)
    count = np.bincount(left // (height * width), minlength=classes)
    for down in sorted(range(-far, far + 1), key=abs):  # most are near: after a few steps there are not many left
        aside = math.floor(math.sqrt(reach * reach - down * down))
        middle = left + down * width
        left = left[theirs[np.searchsorted(theirs, middle - aside)] > middle + aside]
    return count - np.bincount(left // (height * width), minlength=classes), count


def _numbered(outlines: Map, far: int, height: int, width: int) -> Ints:
    y, x = np.nonzero(outlines != IGNORED)
    return np.sort((outlines[y, x].astype(np.int64) * height + y + far) * width + x + far)
