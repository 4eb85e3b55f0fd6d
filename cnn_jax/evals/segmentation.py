"""Scores of a segmenter from its map of classes and the true one, in pixels of the examples.

Pixels that are IGNORED in the true map are left out of everything, above and below the fraction bar. "By set" sums the
pixels of all images first, so that a large object counts more than a small one; "by image" scores each image and takes
the mean, so that each image counts alike.

iou of a class, by set: pixels that are of it in both maps / pixels that are of it in one or both (Jaccard). nan for a
  class that is in neither map of any image; 0 for one that is never true but predicted somewhere.
dice of a class, by set: 2 x pixels in both / (true pixels + predicted pixels), the F score of its pixels.
mean_iou, mean_dice: the means over the classes that are not nan, background among them where it is a class; as
  mmsegmentation and PASCAL VOC have them.
foreground_iou: iou, by set, of all classes but "background" taken as one; where the data has a class of that name.
image_iou, image_dice: iou and dice of each class in each image, nan where the class is in neither map of that image;
  the mean over images for each class, and of these over classes, as nnU-Net has it.
pixel_accuracy: share of the pixels whose class is right. mean_accuracy: that share among the true pixels of a class,
  the mean over the classes that have some.
boundary_f: how well outlines are met, by image as image_iou, see `boundary.boundary_f`.

Intervals come from resamples of the images. They are as narrow as the score where it is 1 in all of them.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import BACKGROUND, IGNORED, INDEX, Spec, named
from cnn_jax.evals import extremes, sums
from cnn_jax.evals.boundary import TOLERANCE, boundary_f
from cnn_jax.evals.evaluator import Arrays, Evaluator, Scores
from cnn_jax.evals.resampled import mean_known
from cnn_jax.evals.sums import Ints, ratio

OUTPUT = "class_map"
# What the sums of an image hold for each class: pixels in both maps, of the true and of the predicted one; the scores
# by image in sums.UNIT, and whether they are known.
COLUMNS = ("both", "true", "said", "iou", "dice", "there", "boundary", "bounded")
NAMES = (
    *("mean_iou", "mean_dice", "foreground_iou", "image_iou", "image_dice"),
    *("pixel_accuracy", "mean_accuracy", "boundary_f"),
)
MEANS = {name: f"mean_{name}" for name in ("iou", "dice", "accuracy")}  # names of the means over classes


class Totals(NamedTuple):
    """Sums over the images seen. K classes.

    sums: [1 + R, len(COLUMNS) * K], of the set and of its resamples. confusion: [K, K]. images: [K] with a true class.
    ignored: pixels that do not count.
    shown: mean iou of each image, nan where all is IGNORED, and the maps of the best and the worst.
    """

    sums: sums.Totals
    confusion: Ints
    images: Ints
    ignored: int
    shown: extremes.Extremes


def evaluator(spec: Spec, tolerance: float = TOLERANCE) -> Evaluator:
    """Scores a segmenter from outputs "class_map" uint8 [B, H, W] against the field of the role class_map.

    tables, of K classes; nan where there is nothing that a score is about:
      "iou", "iou_low", "iou_high", "dice" [K]: by set, with the interval of iou.
      "accuracy" [K]: share of the true pixels of a class that are found.
      "image_iou", "image_dice", "boundary_f" [K]: means over the images that have the class in one of both maps.
      "pixels" [K]: true ones that count. "images" [K]: how many have some.
      "confusion" [K, K]: pixels by true class (rows) and predicted class (columns).
      "counted" [4]: images; those without a pixel that counts; pixels that count; pixels that are IGNORED.
      "image_scores" [N, 2]: place and mean iou, over the classes in one of both maps, of each image that has one.
      "best", "worst" [M, 2]: those of extremes.SHOWN images, the best or worst first.
      "best_maps", "worst_maps" uint8 [M, H, W]: what was predicted for them; where sizes differ, in the upper left of
      the largest, the rest IGNORED.

    Args:
      spec: of the data.
      tolerance: of `boundary_f`, in pixels from 1 on, below 1 as a share of the diagonal of an example.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be pixels or a share of the diagonal, above 0, not {tolerance}")
    field, classes = named(spec.targets, "class_map"), spec.classes
    background = classes.index(BACKGROUND) if BACKGROUND in classes and len(classes) > 1 else None

    def start() -> Totals:
        count = len(classes)
        confusion, images = np.zeros((count, count), np.int64), np.zeros(count, np.int64)
        return Totals(sums.start(len(COLUMNS) * count), confusion, images, 0, extremes.Extremes())

    def add(totals: Totals, outputs: Arrays, batch: Arrays) -> Totals:
        rows = zip(batch[INDEX].tolist(), batch[field], outputs[OUTPUT], strict=True)
        images = [_of_image(place, truth, said, len(classes), tolerance) for place, truth, said in rows]
        return _merged(totals, _together(images)) if images else totals

    return Evaluator(start, add, _merged, partial(_finished, background=background))


class _Image(NamedTuple):
    """What one image adds to the totals. terms: [len(COLUMNS), K]."""

    terms: Ints
    confusion: Ints
    ignored: int
    shown: extremes.Image


def _of_image(place: int, truth: NDArray, said: NDArray, classes: int, tolerance: float) -> _Image:
    if truth.shape != said.shape:
        raise ValueError(f"the predicted map of image {place} is {said.shape}, the true one {truth.shape}")
    counted = truth != IGNORED
    real, found = truth[counted].astype(np.int64), said[counted].astype(np.int64)
    for name, values in (("true", real), ("predicted", found)):
        if wrong := values[(values < 0) | (values >= classes)][:1].tolist():
            raise ValueError(f"the {name} map of image {place} has class {wrong[0]}, the data has {classes} classes")
    confusion = np.bincount(real * classes + found, minlength=classes**2).reshape(classes, classes)
    both, true, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    there = true + predicted > 0
    iou, dice = ratio(both, true + predicted - both), ratio(2 * both, true + predicted)
    boundary = boundary_f(truth, said, classes, tolerance)
    by_image = (sums.whole(iou), sums.whole(dice), there, sums.whole(boundary), np.isfinite(boundary))
    score = float(iou[there].mean()) if there.any() else np.nan
    shown = extremes.Image(place, score, int((true > 0).sum()), said)
    return _Image(np.stack([both, true, predicted, *by_image]), confusion, int((~counted).sum()), shown)


def _together(images: list[_Image]) -> Totals:
    terms = np.stack([image.terms for image in images])
    shown = [image.shown for image in images]
    return Totals(
        sums.of(terms.reshape(len(images), -1), [image.place for image in shown]),
        np.sum([image.confusion for image in images], 0),
        (terms[:, COLUMNS.index("true")] > 0).sum(0),
        sum(image.ignored for image in images),
        extremes.of(shown),
    )


def _merged(a: Totals, b: Totals) -> Totals:
    return Totals(
        a.sums + b.sums,
        a.confusion + b.confusion,
        a.images + b.images,
        a.ignored + b.ignored,
        extremes.merged(a.shown, b.shown),
    )


def _finished(totals: Totals, background: int | None) -> Scores:
    found = dict(zip(COLUMNS, totals.sums.reshape(len(totals.sums), len(COLUMNS), -1).swapaxes(0, 1), strict=True))
    both, true, said = found["both"], found["true"], found["said"]
    if not true[0].any():
        raise ValueError("there is not one pixel whose class is known: nothing can be scored")
    by_class = {
        "iou": ratio(both, true + said - both),
        "dice": ratio(2 * both, true + said),
        "accuracy": ratio(both, true),
        "image_iou": ratio(found["iou"] * sums.UNIT, found["there"]),
        "image_dice": ratio(found["dice"] * sums.UNIT, found["there"]),
        "boundary_f": ratio(found["boundary"] * sums.UNIT, found["bounded"]),
    }
    pixels = true.sum(1)
    of_sets = {"pixel_accuracy": ratio(both.sum(1), pixels)}
    if background is not None:
        empty = both[:, background]  # background in both maps; in one or both:
        partly = true[:, background] + said[:, background] - empty
        of_sets["foreground_iou"] = ratio(pixels - partly, pixels - empty)
    means = {MEANS.get(name, name): mean_known(values) for name, values in by_class.items()} | of_sets
    low, high = sums.interval(by_class["iou"])
    shown = extremes.tables(totals.shown, "uint8", IGNORED)
    images = len(totals.shown.scores)
    return Scores(
        {name: sums.score(means[name]) for name in NAMES if name in means},
        {
            **{name: values[0] for name, values in by_class.items()},
            "iou_low": low,
            "iou_high": high,
            "pixels": true[0],
            "images": totals.images,
            "confusion": totals.confusion,
            "counted": np.array([images, images - len(shown["image_scores"]), pixels[0], totals.ignored]),
            **shown,
        },
    )
