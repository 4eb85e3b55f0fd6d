"""COCO's twelve figures: average precision and average recall, equal to those of pycocotools to the last bit."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals.found import CROWD, Detections, Floats, Ints, Truths
from cnn_jax.evals.matching import greedy, overlapping

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # as pycocotools has them, to the last bit; arange would be a little above
RECALLS = np.linspace(0, 1, 101)
KEPT = (1, 10, 100)  # detections of a class in an image that are looked at; precision is of 100
RANGES = ("all", "small", "medium", "large")
NAMES = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
NAMES += ["ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"]

Bools = NDArray[np.bool_]


def ranges(sizes: tuple[float, float]) -> Floats:
    """Least and greatest area [4, 2] of RANGES for squares of these sides; an area on a bound is in both."""
    small, large = sizes[0] ** 2, sizes[1] ** 2
    return np.array([[0, 1e10], [0, small], [small, large], [large, 1e10]])


def within(area: Floats, areas: Floats) -> Bools:
    """Which areas [N] are in which ranges [A, 2], as [N, A]."""
    return (area[:, None] >= areas[:, 0]) & (area[:, None] <= areas[:, 1])


class Ranked(NamedTuple):
    """The detections of one class as they count in one range of sizes, the highest score first, then by image.

    label, range: which. objects: [G] image of each object. image, rank: [D], see `found.Detections`.
    hit: [T, D] finds an object. counts: [T, D] does so or is wrong; others are on an object that is ignored, or of a
    size out of the range.
    """

    label: int
    range: int
    objects: Ints
    image: Ints
    rank: Ints
    hit: Bools
    counts: Bools


def ranked(detections: Detections, truths: Truths, classes: int, areas: Floats) -> Iterator[Ranked]:
    """Matches all detections at THRESHOLDS, and gives those of each class and range of sizes that has objects.

    An object that is ignored is treated as COCO treats one out of the range: a detection may find it without credit or
    blame. A crowd may be found so by any number.
    """
    detections = detections.of(detections.rank < KEPT[-1])
    counts = truths.counts[:, None] & within(truths.area, areas)
    pairs = overlapping(detections, truths, THRESHOLDS[0])
    groups = detections.image * classes + detections.label
    matches = greedy(pairs, groups, detections.rank, counts, truths.ignored == CROWD, THRESHOLDS)
    place = np.full(len(detections.score), -1)
    place[matches.found] = np.arange(len(matches.found))
    inside = within(detections.bounds[:, 2] * detections.bounds[:, 3], areas)
    order = np.lexsort((-detections.score, detections.label))
    ends = np.searchsorted(detections.label[order], np.arange(classes + 1))
    for label in range(classes):
        rows, true = order[ends[label] : ends[label + 1]], truths.label == label
        for way in range(len(areas)):
            objects = truths.image[true & counts[:, way]]
            if not len(objects):
                continue
            some = rows[inside[rows, way] | (place[rows] >= 0)]
            matched = place[some] >= 0
            given = np.full((len(THRESHOLDS), len(some)), -1)
            given[:, matched] = matches.true[place[some[matched]], way].T
            hit = np.append(counts[:, way], False)[given]
            wrong = (given < 0) & inside[some, way]
            yield Ranked(label, way, objects, detections.image[some], detections.rank[some], hit, hit | wrong)


class Figures(NamedTuple):
    """precision: [T, 101, K, A] at RECALLS; recall: [T, K, A, len(KEPT)]; nan where no object is."""

    precision: Floats
    recall: Floats


def figures(found: list[Ranked], classes: int, areas: int = len(RANGES)) -> Figures:
    """Precision and recall of each class and range of sizes."""
    levels = len(THRESHOLDS)
    precision = np.full((levels, len(RECALLS), classes, areas), np.nan)
    recall = np.full((levels, classes, areas, len(KEPT)), np.nan)
    for one in found:
        total = len(one.objects)
        precision[:, :, one.label, one.range] = interpolated(one.hit, one.counts, total)
        early = one.rank < np.array(KEPT)[:, None, None]
        recall[:, one.label, one.range] = (one.hit & early).sum(-1).T / total
    return Figures(precision, recall)


def interpolated(hit: Bools, counts: Bools, objects: int) -> Floats:
    """The best precision [T, 101] at each of RECALLS or a higher recall, 0 where it is not reached.

    hit, counts: [T, D] as `Ranked` has them, of a number of objects above 0.
    """
    right = np.cumsum(hit, 1)
    precision = right / (np.cumsum(counts, 1) + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.concatenate([envelope, np.zeros((len(hit), 1))], 1)
    return np.stack(
        [best[np.searchsorted(some / objects, RECALLS)] for best, some in zip(envelope, right, strict=True)]
    )


def twelve(found: Figures) -> dict[str, float]:
    """COCO's figures by their NAMES: means over thresholds and classes; nan where no object is."""
    precision, recall = found
    everything = precision[..., 0]
    parts = [everything, everything[THRESHOLDS == 0.5], everything[THRESHOLDS == 0.75]]
    parts += [precision[..., size] for size in range(1, len(RANGES))]
    parts += [recall[..., 0, most] for most in range(len(KEPT))]
    parts += [recall[..., size, -1] for size in range(1, len(RANGES))]
    # The mean of one row: along an axis it would be rounded otherwise.
    known = [part[np.isfinite(part)] for part in parts]
    return {name: float(np.mean(part)) if len(part) else np.nan for name, part in zip(NAMES, known, strict=True)}
