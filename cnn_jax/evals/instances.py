"""Scores of a map of single objects, such as nuclei, against the true one, in pixels of the examples.

An object is predicted rightly at a threshold where its IoU with a true one is at least as large; no object is matched
twice. Of the two scores called average precision this is that of the Data Science Bowl 2018 and of StarDist
(Schmidt et al. 2018, section 3), by which nuclei are scored: objects have no confidence, and at each threshold

  AP = matched / (matched + predicted but not matched + true but not matched).

It is not COCO's, the area under the curve of precision over recall, which `detection` has.

ap50, ap75: AP at IoU .5 and .75, by set: matches are counted over all images first, as StarDist's
  `matching_dataset(..., by_image=False)` does. ap: the mean over THRESHOLDS.
image_ap: the mean over images of ap of each, as in the Data Science Bowl, whose thresholds go on to .95. nan, and left
  out, for an image in which there is nothing and nothing is predicted; StarDist's by_image=True counts 0 for it.
panoptic_quality, segmentation_quality, recognition_quality: see `panoptic`, by set and without classes.
  segmentation_quality is the mean IoU of matched objects, recognition_quality their F1 score.
foreground_iou: of all objects taken as one, by set.

Void are pixels whose class is IGNORED, where the data has a map of classes too, and those of objects that box_ignored
marks, where it has that: they are left out, see `segments`.
nan where there is nothing that a score is about. Intervals come from resamples of the images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import IGNORED, INDEX, Spec, named
from cnn_jax.evals import extremes, panoptic, segments, sums
from cnn_jax.evals.evaluator import Arrays, Evaluator, Scores
from cnn_jax.evals.resampled import mean_known
from cnn_jax.evals.sums import Ints, ratio

OUTPUT = "instance_map"
THRESHOLDS = np.arange(50, 95, 5) / 100  # StarDist's table
# What an image adds: for each threshold its matches and the sum of their IoU; these for panoptic quality; pixels of
# objects in both maps, and in one or both; its ap and whether it has one. IoU and ap are in sums.UNIT.
COLUMNS = 4 * len(THRESHOLDS) + 4 + 2 + 2


class Totals(NamedTuple):
    """Over the images seen. sums: [1 + R, COLUMNS]. objects: [3] true, predicted, predicted of which most is void.

    shown: ap of each image, nan where there is nothing, and the maps of the best and the worst.
    """

    sums: sums.Totals
    objects: Ints
    shown: extremes.Extremes


def evaluator(spec: Spec) -> Evaluator:
    """Scores outputs "instance_map" [B, H, W], numbers from 0 for none, against the field of the role instance_map.

    tables; nan where there is nothing that a score is about:
      "thresholds" [9]: of the IoU. "matches" [9, 3]: matched; predicted but not matched; true but not matched.
      "average_precision", with "_low" and "_high", "precision", "recall", "f1", "mean_iou" [9]: by set at each
      threshold; "mean_iou" is that of the matched objects (StarDist's mean matched score).
      "counted" [5]: images; those in which there is nothing; true objects; predicted ones; those of them that do not
      count unless they are matched, since most of their pixels are void.
      "image_scores" [N, 2]: place and ap of each image in which there is something.
      "best", "worst" [M, 2]: those of extremes.SHOWN images, the best or worst first.
      "best_maps", "worst_maps" int32 [M, H, W]: what was predicted for them; where sizes differ, in the upper left of
      the largest, the rest 0.
    """
    field = named(spec.targets, "instance_map")

    def start() -> Totals:
        return Totals(sums.start(COLUMNS), np.zeros(3, np.int64), extremes.Extremes())

    def add(totals: Totals, outputs: Arrays, batch: Arrays) -> Totals:
        places, truth, said = batch[INDEX].tolist(), batch[field], outputs[OUTPUT]
        void = void_of(batch, spec)
        images = [_of_image(*row) for row in zip(places, truth, said, void, strict=True)]
        return _merged(totals, _together(images)) if images else totals

    return Evaluator(start, add, _merged, _finished)


def void_of(batch: Arrays, spec: Spec) -> NDArray[np.bool_]:
    """The pixels [B, H, W] of a batch that are void: IGNORED by a class_map, or of an object that is by box_ignored."""
    truth = batch[named(spec.targets, "instance_map")]
    void, rows = np.zeros(truth.shape, bool), truth.reshape(len(truth), -1)
    for name, field in spec.targets.items():
        if field.role == "class_map":
            void |= batch[name] == IGNORED
        elif field.role == "box_ignored":
            marked = np.pad(batch[name] > 0, ((0, 0), (1, 1)))  # of 0, no object, and of those without a row
            numbers = np.minimum(rows, marked.shape[1] - 1).astype(np.int64)
            void |= np.take_along_axis(marked, numbers, 1).reshape(truth.shape)
    return void


class _Image(NamedTuple):
    """What one image adds to the totals. terms: [COLUMNS]; objects: [3]."""

    terms: Ints
    objects: Ints
    shown: extremes.Image


def _of_image(place: int, truth: NDArray, said: NDArray, void: NDArray) -> _Image:
    try:
        found = segments.overlaps(truth, said, void)
    except ValueError as error:
        raise ValueError(f"image {place}: {error}") from None
    pairs = [segments.matches(found, threshold) for threshold in THRESHOLDS]
    matches = np.array([segments.counts(found, each) for each in pairs])  # [9, 3]
    iou = sums.whole(np.array([found.iou[each].sum() for each in pairs]))
    whole = panoptic.matched(found)
    both = found.both.sum()
    either = found.true_area.sum() + found.said_area.sum() - both
    score = ratio(matches[:, 0], matches.sum(1)).mean()
    terms = [
        *np.column_stack([matches, iou]).ravel(),
        *(*sums.whole(whole.iou), *whole.hits, *whole.wrong, *whole.missed),
        *(both, either),
        *(*sums.whole(np.atleast_1d(score)), np.isfinite(score)),
    ]
    objects = np.array([len(found.true_ids), len(found.said_ids), found.dropped.sum()])
    shown = extremes.Image(place, float(score), len(found.true_ids), said)
    return _Image(np.array(terms, np.int64), objects, shown)


def _together(images: list[_Image]) -> Totals:
    shown = [image.shown for image in images]
    return Totals(
        sums.of(np.stack([image.terms for image in images]), [image.place for image in shown]),
        np.sum([image.objects for image in images], 0),
        extremes.of(shown),
    )


def _merged(a: Totals, b: Totals) -> Totals:
    return Totals(
        a.sums + b.sums,
        a.objects + b.objects,
        extremes.merged(a.shown, b.shown),
    )


def _finished(totals: Totals) -> Scores:
    by_threshold, rest = np.split(totals.sums, [4 * len(THRESHOLDS)], axis=1)
    hits, wrong, missed, iou = np.moveaxis(by_threshold.reshape(len(rest), len(THRESHOLDS), 4), -1, 0)  # [1 + R, 9]
    average = ratio(hits, hits + wrong + missed)
    of_iou, *of_counts, both, either, image_ap, known = rest.T
    quality = panoptic.quality(panoptic.Matched(of_iou * sums.UNIT, *of_counts))
    values = {
        "ap": mean_known(average),
        **{f"ap{round(100 * t)}": average[:, THRESHOLDS == t][:, 0] for t in (0.5, 0.75)},
        "image_ap": ratio(image_ap * sums.UNIT, known),
        **{f"{name}_quality": column for name, column in quality._asdict().items()},
        "foreground_iou": ratio(both, either),
    }
    low, high = sums.interval(average)
    shown = extremes.tables(totals.shown, "int32", 0)
    images = len(totals.shown.scores)
    return Scores(
        {name: sums.score(column) for name, column in values.items()},
        {
            "thresholds": THRESHOLDS,
            "matches": np.stack([hits[0], wrong[0], missed[0]], 1),
            "average_precision": average[0],
            "average_precision_low": low,
            "average_precision_high": high,
            "precision": ratio(hits[0], hits[0] + wrong[0]),
            "recall": ratio(hits[0], hits[0] + missed[0]),
            "f1": ratio(2 * hits[0], 2 * hits[0] + wrong[0] + missed[0]),
            "mean_iou": ratio(iou[0] * sums.UNIT, hits[0]),
            "counted": np.array([images, images - len(shown["image_scores"]), *totals.objects]),
            **shown,
        },
    )
