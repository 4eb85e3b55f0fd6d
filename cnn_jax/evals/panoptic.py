"""Panoptic quality (Kirillov et al. 2019, "Panoptic segmentation", section 4), by the rules of panopticapi."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnn_jax.evals.segments import Overlaps
from cnn_jax.evals.sums import ratio

Floats = NDArray[np.float64]


class Matched(NamedTuple):
    """Of each class, over one image or the sums over several: [..., K].

    iou: the sum over the segments that are matched. hits: how many these are. wrong: predicted segments that are not.
    missed: true segments that are not.
    """

    iou: NDArray
    hits: NDArray
    wrong: NDArray
    missed: NDArray


class Quality(NamedTuple):
    """[..., K]; nan where there is no segment, and segmentation where none is matched.

    panoptic: segmentation x recognition = sum of IoU / (hits + wrong / 2 + missed / 2).
    segmentation: the mean IoU of matched segments. recognition: the F1 score of finding them.
    """

    panoptic: Floats
    segmentation: Floats
    recognition: Floats


def matched(
    found: Overlaps, true_labels: ArrayLike | None = None, said_labels: ArrayLike | None = None, classes: int = 1
) -> Matched:
    """Which segments of an image are matched: those of the same class with an IoU above .5, which no two can have.

    Here as in panopticapi what is void is void for every class, and the number 0 is no segment. Where a set has crowds,
    they are void too.

    Args:
      found: the segments. In the format of panopticapi they are `overlaps(truth, said, void=truth == 0)`; where 0 is
        known to be empty, as between nuclei, without void.
      true_labels, said_labels: the class of each of found.true_ids [T] and found.said_ids [S]; None: class 0.
      classes: how many there are.
    """
    of_true = np.zeros(len(found.true_ids), int) if true_labels is None else np.asarray(true_labels, int)
    of_said = np.zeros(len(found.said_ids), int) if said_labels is None else np.asarray(said_labels, int)
    pairs = np.flatnonzero((found.iou > 0.5) & (of_true[found.true] == of_said[found.said]))
    true, said = np.ones(len(of_true), bool), ~found.dropped
    true[found.true[pairs]], said[found.said[pairs]] = False, False
    label = of_true[found.true[pairs]]
    hits, wrong, missed = (np.bincount(some, minlength=classes) for some in (label, of_said[said], of_true[true]))
    return Matched(np.bincount(label, found.iou[pairs], classes), hits, wrong, missed)


def quality(sums: Matched) -> Quality:
    """The three scores; over classes take the mean of what is not nan."""
    segments = sums.hits + sums.wrong / 2 + sums.missed / 2
    return Quality(ratio(sums.iou, segments), ratio(sums.iou, sums.hits), ratio(sums.hits, segments))
