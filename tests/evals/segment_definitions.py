"""Scores of numbered segments by their definitions: StarDist's matching, and panoptic quality by sets of pixels."""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

Pixels = dict[int, set[int]]


def segments(numbers: np.ndarray) -> Pixels:
    """The places of the pixels of each number but 0."""
    flat = numbers.ravel()
    return {int(n): set(np.flatnonzero(flat == n).tolist()) for n in np.unique(flat) if n > 0}


def iou_of(true: Pixels, said: Pixels) -> np.ndarray:
    """[T, S]."""
    table = [[len(t & s) / len(t | s) for s in said.values()] for t in true.values()]
    return np.array(table, float).reshape(len(true), len(said))


def stardist(truth: np.ndarray, said: np.ndarray, threshold: float) -> tuple[int, int, int, float]:
    """tp, fp, fn and the sum of the IoU of matched objects, as in stardist.matching.matching (0.9.2), in float64.

    StarDist has IoU in float32, so that 7 / 10 is below .7 there.
    """
    iou = iou_of(segments(truth), segments(said))
    count = min(iou.shape)
    if not count:
        return 0, iou.shape[1], iou.shape[0], 0.0
    rows, columns = linear_sum_assignment(-(iou >= threshold).astype(float) - iou / (2 * count))
    right = iou[rows, columns] >= threshold
    hits = int(right.sum())
    return hits, iou.shape[1] - hits, iou.shape[0] - hits, float(iou[rows, columns][right].sum())


def average_precision(tp: int, fp: int, fn: int) -> float:
    return tp / (tp + fp + fn) if tp + fp + fn else math.nan


def panoptic(
    truth: np.ndarray, said: np.ndarray, void: np.ndarray, true_labels: dict[int, int], said_labels: dict[int, int]
) -> dict[int, list[float]]:
    """Sum of IoU, hits, wrong and missed of each class that has some: Kirillov et al. 2019, sections 4.1 and 4.2."""
    nowhere = set(np.flatnonzero(void.ravel()).tolist())
    true = {n: places - nowhere for n, places in segments(truth).items() if places - nowhere}
    found = segments(said)
    sums = {label: [0.0, 0, 0, 0] for label in {*true_labels.values(), *said_labels.values()}}
    taken = set()
    for n, places in true.items():
        near = [m for m, other in found.items() if len(places & other) / len(places | (other - nowhere)) > 0.5]
        near = [m for m in near if said_labels[m] == true_labels[n]]
        if near:
            (m,) = near
            taken.add(m)
            sums[true_labels[n]][0] += len(places & found[m]) / len(places | (found[m] - nowhere))
        sums[true_labels[n]][1 if near else 3] += 1
    for m, places in found.items():
        if m not in taken and len(places & nowhere) / len(places) <= 0.5:
            sums[said_labels[m]][2] += 1
    return sums
