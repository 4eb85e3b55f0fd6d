"""PASCAL VOC's average precision, as its development kit has it (Everingham et al. 2010, section 4.2)."""

import numpy as np

from cnn_jax.evals.average_precision import Bools
from cnn_jax.evals.found import Detections, Floats, Truths
from cnn_jax.evals.matching import overlapping

LEAST = 0.5  # IoU of a detection that is right


def voc(detections: Detections, truths: Truths, classes: int) -> Floats:
    """Average precision [K, 2]: the mean at 11 recalls (2007), and the area below the curve (from 2010 on).

    A detection is held against the object that it overlaps with most, whether another has found it or not; of several
    on one object the highest score is right. Ignored objects do not count, nor does what was found there.
    """
    found = np.full((classes, 2), np.nan)
    pairs = overlapping(detections, truths, LEAST)
    order = np.lexsort((pairs.true, -pairs.iou, pairs.found))
    some, first = np.unique(pairs.found[order], return_index=True)
    best = np.full(len(detections.score), -1)
    best[some] = pairs.true[order][first]
    counts = np.append(truths.counts, True)[best]
    for label in range(classes):
        objects = int((truths.counts & (truths.label == label)).sum())
        rows = np.flatnonzero((detections.label == label) & counts)
        rows = rows[np.argsort(-detections.score[rows], kind="stable")]
        given, place = np.unique(best[rows], return_index=True)
        hit = np.zeros(len(rows), bool)
        hit[place[given >= 0]] = True
        if objects:
            found[label] = _precisions(hit, objects)
    return found


def _precisions(hit: Bools, objects: int) -> tuple[float, float]:
    right = np.cumsum(hit)
    recall = right / objects
    envelope = np.maximum.accumulate((right / np.arange(1, len(hit) + 1))[::-1])[::-1]
    at = np.searchsorted(recall, np.arange(11) / 10 - 1e-12)  # a recall of .3 is reached by 3 of 10
    return float(np.append(envelope, 0)[at].mean()), float((np.diff(recall, prepend=0) * envelope).sum())
