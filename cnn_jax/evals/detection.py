"""Scores of a detector from its boxes, scores and classes and the true objects, in pixels of the original pictures.

ap: COCO's average precision, the mean over the classes and over the IoU thresholds .50, .55, ..., .95; ap50, ap75: at
  one threshold; ap_small, ap_medium, ap_large: over the objects of a range of sizes, see `evaluator`.
ar1, ar10, ar100: COCO's average recall with at most so many detections of a class in an image; ar_small, ...: with 100.
voc2007, voc2010: PASCAL VOC's average precision at IoU .5, see `voc`.
tide_cls, ..., tide_miss: what ap50 would gain without the errors of one kind, see `tide`.

A score is nan where there is no object that it is about. Intervals come from RESAMPLES of the images, fewer than those
of a classifier: 1,000 would cost three times what all the rest does.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from cnn_jax.data.spec import Spec
from cnn_jax.evals import bootstrap, resampled
from cnn_jax.evals.average_precision import figures, ranges, ranked, twelve, within
from cnn_jax.evals.confusion import best_threshold, confusion
from cnn_jax.evals.evaluator import Arrays, Evaluator, Score, Scores
from cnn_jax.evals.found import Detections, Floats, Image, Ints, Truths, columns, reader
from cnn_jax.evals.tide import KINDS, MISS, Tide, tide
from cnn_jax.evals.voc import voc

SIZES = (32.0, 96.0)  # COCO's: an object is small up to 32 x 32 pixels, large from 96 x 96 on
RESAMPLES = 200
VOC = ("voc2007", "voc2010")
SHOWN = 8  # images for each kind of error, and of the best, that a gallery may show

Totals = tuple[Image, ...]


def evaluator(spec: Spec, sizes: tuple[float, float] = SIZES) -> Evaluator:
    """Scores a detector from outputs boxes [B, K, 4], scores [B, K] and labels [B, K], -1 for none.

    Totals keep the boxes of every image: AP is about the order of all detections of a set.

    tables, of K classes and the size ranges all, small, medium, large:
      "sizes" [2]: as given. "objects" [K, 4]: how many count.
      "average_precision", with "_low" and "_high" [K, 4]; "ap50" [K], "voc" [K, 2]. nan where no object is.
      "precision" [10, 101, K]: at 10 IoU thresholds and recalls 0, .01, ..., 1.
      "threshold" []: the score from which on precision and recall are best balanced, see `confusion.best_threshold`;
      "confusion" [K + 1, K + 1]: from that score on, the last row and column are background.
      "tide" [6]: the cost of each kind of error, "tide_counts" [6].
      "errors" [M, 13]: the worst of each kind, of SHOWN images: kind; place of the image; predicted class, score, box
      (nan where an object was missed); true class, box (nan where no object is).
      "best" [M, 3]: images with the best detections: place, F1 at the threshold, number of objects.
      "shown" [M, 7]: all detections from the threshold on in those images: place, class, score, box.

    Args:
      spec: of the data, with the targets boxes and box_labels; box_ignored, box_areas and placement where it has them.
      sizes: the sides, in pixels of the original picture, of the squares whose areas divide small from medium and
        medium from large objects; an object of just that area belongs to both, as in COCO.
    """
    if not 0 < sizes[0] < sizes[1]:
        raise ValueError(f"sizes must be two sides in pixels, 0 < small < large, not {tuple(sizes)}")
    read = reader(spec)

    def add(totals: Totals, outputs: Arrays, batch: Arrays) -> Totals:
        return totals + read(outputs, batch)

    return Evaluator(tuple, add, _merged, partial(_finished, classes=spec.classes, sizes=sizes))


def _merged(a: Totals, b: Totals) -> Totals:
    return a + b


def _finished(totals: Totals, classes: Sequence[str], sizes: tuple[float, float]) -> Scores:
    images = sorted(totals, key=lambda image: image.place)
    places = np.array([image.place for image in images], np.int64)
    count, areas = len(classes), ranges(sizes)
    detections, truths = columns(images)
    found = list(ranked(detections, truths, count, areas))
    curves = figures(found, count)
    samples = resampled.resampled(found, count, bootstrap.weights(places)[:, :RESAMPLES])
    errors, old = tide(detections, truths, count), voc(detections, truths, count)
    threshold = best_threshold(detections, truths, errors)

    named = zip(twelve(curves).items(), resampled.twelve(samples).T, strict=True)
    numbers = {name: Score(value, *_interval(value, column)) for (name, value), column in named}
    numbers |= {
        name: Score(float(resampled.mean_known(old.T[column]))) for column, name in enumerate(("voc2007", "voc2010"))
    }
    numbers |= {f"tide_{kind}": Score(float(cost)) for kind, cost in zip(KINDS, errors.cost, strict=True)}
    by_class = np.moveaxis(samples.precision, 1, -1).mean(-1)  # [R, K, 4]
    precision = curves.precision.mean((0, 1))  # [K, 4]
    each = [_interval(precision[cell], by_class[:, *cell]) for cell in np.ndindex(precision.shape)]
    bounds = np.array(each, float).reshape(*precision.shape, 2)
    inside = within(truths.area, areas) & truths.counts[:, None]
    worst, best = _worst(errors, detections, truths), _best(errors, detections, truths, threshold, len(images))
    shown = np.union1d(worst[:, 1], best[:, 0])
    listed = detections.of(np.isin(detections.image, shown) & (detections.score >= threshold))
    return Scores(
        numbers,
        {
            "sizes": np.array(sizes, float),
            "objects": np.stack([inside[truths.label == label].sum(0) for label in range(count)]),
            "average_precision": precision,
            "average_precision_low": bounds[..., 0],
            "average_precision_high": bounds[..., 1],
            "ap50": curves.precision[0, :, :, 0].mean(0),
            "voc": old,
            "precision": curves.precision[..., 0],
            "threshold": np.array(threshold),
            "confusion": confusion(detections, truths, count, threshold),
            "tide": errors.cost,
            "tide_counts": np.append(np.bincount(errors.kind[errors.kind >= 0], minlength=MISS), errors.missed.sum()),
            "errors": _placed(worst, 1, places),
            "best": _placed(best, 0, places),
            "shown": _placed(np.column_stack([listed.image, listed.label, listed.score, _boxes(listed)]), 0, places),
        },
    )


def _interval(value: float, samples: Floats) -> tuple[float | None, float | None]:
    """The 95 % interval in which a score would lie with as many other images, from its values in the resamples.

    COCO's precision, the best at all higher recalls, is too high for few images: in a simulation by .04 for 50 of them
    and by .01 for 400. A resample has fewer different ones and is higher still, so that the score may be below all of
    them: they are moved until their mean is the score. So the interval says how sure it is for as many images.
    """
    known = samples[np.isfinite(samples)]
    if not len(known):
        return None, None
    low, high = np.clip(bootstrap.interval(known + (value - known.mean())), 0, 1)
    return float(low), float(high)


def _worst(found: Tide, detections: Detections, truths: Truths) -> Floats:
    """The errors of each kind with the highest scores, and the largest objects missed; one of a kind from an image."""
    rows = []
    for kind in range(MISS):
        order = np.flatnonzero(found.kind == kind)
        some = detections.of(order[np.argsort(-detections.score[order], kind="stable")])
        target = found.target[order[np.argsort(-detections.score[order], kind="stable")]]
        few = _first_of_images(some.image)
        true = _true(truths, target[few])
        found_boxes = np.column_stack([some.image, some.label, some.score, _boxes(some)])[few]
        rows.append(np.column_stack([np.full(len(few), kind), found_boxes, true]))
    order = np.flatnonzero(found.missed)
    order = order[np.argsort(-truths.area[order], kind="stable")]
    few = order[_first_of_images(truths.image[order])]
    nothing = np.full((len(few), 6), np.nan)
    rows.append(np.column_stack([np.full(len(few), MISS), truths.image[few], nothing, _true(truths, few)]))
    return np.concatenate(rows)


def _first_of_images(image: Ints) -> Ints:
    return np.sort(np.unique(image, return_index=True)[1])[:SHOWN]


def _true(truths: Truths, rows: Ints) -> Floats:
    """Class and box [N, 5] of objects; nan for -1."""
    known = np.column_stack([truths.label, _boxes(truths)])
    return np.concatenate([known, np.full((1, 5), np.nan)])[rows]


def _best(found: Tide, detections: Detections, truths: Truths, threshold: float, images: int) -> Floats:
    """Image, F1 and number of objects [M, 3] of those that were seen best, the ones with most objects first."""
    sure = detections.score >= threshold
    hits = np.bincount(detections.image[sure & found.right], minlength=images)
    said = np.bincount(detections.image[sure & found.counts], minlength=images)
    objects = np.bincount(truths.image[truths.counts], minlength=images)
    f1 = 2 * hits / np.maximum(said + objects, 1)
    order = np.lexsort((-objects, -f1))[:SHOWN]
    return np.column_stack([np.arange(images), f1, objects])[order[f1[order] > 0]]


def _boxes(some: Detections | Truths) -> Floats:
    """Left, top, right, bottom [N, 4]."""
    return np.concatenate([some.bounds[:, :2], some.bounds[:, :2] + some.bounds[:, 2:]], 1)


def _placed(rows: Floats, column: int, places: Ints) -> Floats:
    """The rows with the places of images in their split for their positions."""
    return np.column_stack([*rows.T[:column], places[rows[:, column].astype(int)], *rows.T[column + 1 :]])
