"""Why a detector is wrong: the six kinds of error of TIDE (Bolya et al. 2020, arXiv:2008.08115), and what each costs.

cls: on an object of another class. loc: of the right class, but the boxes overlap too little. both: too little, and of
another class. dupe: a second one on an object that is found. bkg: where no object is. miss: an object that neither a
detection nor the mending of a cls or loc error finds.

The cost of a kind is what average precision at IoU .5 gains where its errors alone are mended (section 2.2): the class
or the box is put right for the highest score on each object that is not found, all others are taken away, and missed
objects are not counted. What several kinds cost together is not the sum.
"""

from typing import NamedTuple

import numpy as np

from cnn_jax.evals.average_precision import KEPT, Bools, interpolated
from cnn_jax.evals.found import CROWD, Detections, Floats, Ints, Truths
from cnn_jax.evals.matching import Pairs, greedy, overlapping

KINDS = ("cls", "loc", "both", "dupe", "bkg", "miss")
CLS, LOC, BOTH, DUPE, BKG, MISS = range(len(KINDS))
FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU from which a box is on an object, and up to which it is on none


class Tide(NamedTuple):
    """What each of D detections and G objects is.

    right: [D] finds an object. counts: [D] is right or wrong; others are on what is ignored, or are beyond COCO's 100.
    kind: [D] of the error, -1 for none. target: [D] object that a cls or loc error is about, -1 for none.
    missed: [G]. cost: [6] by kind, of average precision; nan without objects.
    """

    right: Bools
    counts: Bools
    kind: Ints
    target: Ints
    missed: Bools
    cost: Floats


def tide(detections: Detections, truths: Truths, classes: int) -> Tide:
    """Sorts all errors at IoU .5. Ignored objects are no evidence: a box on one of them counts as on none."""
    total = len(detections.score)
    seen = detections.rank < KEPT[-1]
    pairs = overlapping(detections, truths, BACKGROUND, blind=True)
    same = detections.label[pairs.found] == truths.label[pairs.true]
    may = same & (pairs.iou >= FOREGROUND) & seen[pairs.found]
    matches = greedy(
        Pairs(*(column[may] for column in pairs)),
        detections.image * classes + detections.label,
        detections.rank,
        truths.counts[:, None],
        truths.ignored == CROWD,
        np.array([FOREGROUND]),
    )
    given = np.full(total, -1)
    given[matches.found] = matches.true[:, 0, 0]
    right = (given >= 0) & np.append(truths.counts, False)[given]
    taken = np.zeros(len(truths.label), bool)
    taken[given[right]] = True

    known = truths.counts[pairs.true]
    own, own_object = _most(pairs, known & same, total)
    other, other_object = _most(pairs, known & ~same, total)
    used, _ = _most(pairs, known & same & taken[pairs.true], total)
    # The first that holds, from the end.
    kind = np.where(np.maximum(own, other) <= BACKGROUND, BKG, BOTH)
    kind[used >= FOREGROUND] = DUPE
    kind[other >= FOREGROUND] = CLS
    kind[(own >= BACKGROUND) & (own <= FOREGROUND)] = LOC
    kind[(given >= 0) | ~seen] = -1
    target = np.where(kind == LOC, own_object, np.where(kind == CLS, other_object, -1))

    missed = truths.counts & ~taken
    missed[target[target >= 0]] = False
    found = Tide(right, seen & ((given < 0) | right), kind, target, missed, np.zeros(len(KINDS)))
    return found._replace(cost=_costs(found, detections, truths, taken, classes))


def _most(pairs: Pairs, some: Bools, total: int) -> tuple[Floats, Ints]:
    """The largest IoU [D] of each detection in some of the pairs, or 0, and the first object that has it, or -1."""
    rows = np.flatnonzero(some)
    rows = rows[np.lexsort((pairs.true[rows], -pairs.iou[rows], pairs.found[rows]))]
    found, first = np.unique(pairs.found[rows], return_index=True)
    shared, true = np.zeros(total), np.full(total, -1)
    shared[found], true[found] = pairs.iou[rows[first]], pairs.true[rows[first]]
    return shared, true


def _costs(found: Tide, detections: Detections, truths: Truths, taken: Bools, classes: int) -> Floats:
    objects = np.bincount(truths.label[truths.counts], minlength=classes)
    missing = np.bincount(truths.label[found.missed], minlength=classes)
    order = np.argsort(-detections.score, kind="stable")

    def precision(label: Ints, right: Bools, counts: Bools, objects: Ints) -> Floats:
        label, right = label[order][counts[order]], right[order][counts[order]]
        hits = [right[label == k][None] for k in range(classes)]
        # Where all objects of a class are missed, nothing is left to be precise about: 0, as in the original.
        return np.array([interpolated(h, h | True, n).mean() if n else 0 for h, n in zip(hits, objects, strict=True)])

    before = precision(detections.label, found.right, found.counts, objects)
    # The highest score on each object that is not found, among the errors of both kinds, as in the original code.
    able = order[~np.append(taken, True)[found.target[order]]]
    target, first = np.unique(found.target[able], return_index=True)
    best = able[first]
    after = []
    for kind in range(len(KINDS)):
        label, right, counts = detections.label.copy(), found.right.copy(), found.counts & (found.kind != kind)
        mended = found.kind[best] == kind
        label[best[mended]] = truths.label[target[mended]]
        right[best[mended]] = counts[best[mended]] = True
        after.append(precision(label, right, counts, objects - missing if kind == MISS else objects))
    some = objects > 0
    if not some.any():
        return np.full(len(KINDS), np.nan)
    return np.maximum([precisions[some].mean() - before[some].mean() for precisions in after], 0)
