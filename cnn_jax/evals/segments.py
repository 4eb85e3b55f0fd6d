"""Two maps of numbered segments held against each other: which predicted one is which true one.

In a map each pixel has the number of its segment, 0 for none; numbers mean nothing but that. What is void, where nobody
knows what is there, belongs to no segment: it is left out of the union of two segments, and a predicted segment of
which more than half is void, and that is no match, does not count (Kirillov et al. 2019, section 4.1).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Overlaps(NamedTuple):
    """T true and S predicted segments of an image, and the P pairs that have pixels in common.

    true_ids: [T], said_ids: [S] their numbers. true_area: [T], said_area: [S] pixels, of those that are not void.
    said_void: [S] pixels that are.
    true, said: [P] the positions of a pair in true_ids and said_ids; both: [P] its common pixels; iou: [P].
    """

    true_ids: Ints
    said_ids: Ints
    true_area: Ints
    said_area: Ints
    said_void: Ints
    true: Ints
    said: Ints
    both: Ints
    iou: Floats

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """Which predicted segments [S] do not count unless they are matched."""
        return self.said_void > self.said_area


def overlaps(truth: ArrayLike, said: ArrayLike, void: ArrayLike | None = None) -> Overlaps:
    """The segments of a true and a predicted map, whole numbers [H, W] from 0 on, and what they have in common.

    void: bool [H, W], where the truth is not known; None for nowhere.
    Raises ValueError for maps of different sizes, and for numbers below 0.
    """
    truth, said = (np.asarray(array).astype(np.int64) for array in (truth, said))
    if truth.shape != said.shape:
        raise ValueError(f"the predicted map is {said.shape}, the true one {truth.shape}")
    if min(truth.min(initial=0), said.min(initial=0)) < 0:
        raise ValueError("the numbers of segments in a map must be 0 or above")
    unknown = np.zeros(truth.shape, bool) if void is None else np.asarray(void, bool)
    base, nowhere = int(said.max(initial=0)) + 1, int(truth.max(initial=0)) + 1
    codes, pixels = np.unique(np.where(unknown, nowhere, truth) * base + said, return_counts=True)
    of_true, of_said, pixels = codes // base, codes % base, pixels.astype(np.int64)

    known = of_true < nowhere
    true_ids, said_ids = (np.unique(ids[ids > 0]) for ids in (of_true[known], of_said))
    true_area = _summed(true_ids, of_true, pixels)
    said_area = _summed(said_ids, of_said[known], pixels[known])
    said_void = _summed(said_ids, of_said[~known], pixels[~known])
    pair = known & (of_true > 0) & (of_said > 0)
    true, both = np.searchsorted(true_ids, of_true[pair]), pixels[pair]
    found = np.searchsorted(said_ids, of_said[pair])
    iou = both / (true_area[true] + said_area[found] - both)
    return Overlaps(true_ids, said_ids, true_area, said_area, said_void, true, found, both, iou)


def _summed(ids: Ints, of: Ints, pixels: Ints) -> Ints:
    """Pixels [len(ids)] of each of these numbers, which are sorted."""
    ours = np.isin(of, ids)
    sums = np.zeros(len(ids), np.int64)
    np.add.at(sums, np.searchsorted(ids, of[ours]), pixels[ours])
    return sums


def matches(found: Overlaps, threshold: float) -> Ints:
    """The positions [M] of the pairs that are matched: their IoU is at least `threshold`, which must be .5 or more.

    As many as there can be, no segment in two of them. The IoU of a segment with two others can only be .5 with both,
    each being one half of it; then either will do. So no assignment has to be solved: the result is that of the
    Hungarian method (Kuhn 1955), of which StarDist's `matching` makes use.
    """
    if not threshold >= 0.5:
        raise ValueError(f"segments are matched at an IoU of .5 or more, not {threshold}")
    close = np.flatnonzero(found.iou >= threshold)
    for side in (found.true, found.said):
        close = close[np.unique(side[close], return_index=True)[1]]
    return np.sort(close)


def counts(found: Overlaps, pairs: Ints) -> tuple[int, int, int]:
    """How many predicted segments are matched, how many are not and count, and how many true ones are not."""
    free = ~found.dropped
    free[found.said[pairs]] = False
    return len(pairs), int(free.sum()), len(found.true_ids) - len(pairs)
