"""Scores of a detector from its boxes, scores and classes and the true objects, in the pixels of the original pictures.

ap: COCO's average precision, the mean over classes and over the IoU thresholds .50, .55, ..., .95; ap50, ap75: at one
  threshold; ap_small, ap_medium, ap_large: over the objects of a range of sizes, see `evaluator`.
ar1, ar10, ar100: COCO's average recall with at most so many detections of a class in an image; ar_small, ...: with 100.

A score is nan where there is no object that it is about.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.prepare import placed, to_original
from cnn_jax.data.spec import INDEX, Role, Spec, named
from cnn_jax.evals import coco
from cnn_jax.evals.evaluator import Arrays, Evaluator, Score, Scores

SIZES = (32.0, 96.0)  # COCO's: an object is small up to 32 x 32 pixels, large from 96 x 96 on
OPTIONAL: tuple[Role, ...] = ("box_ignored", "box_areas", "placement")


class Image(NamedTuple):
    """What is known of one image with D detections and G true objects; boxes are in pixels of the original picture.

    place: of the image in its split.
    boxes: [D, 4]; scores: [D]; labels: [D], in the order of the outputs.
    true_boxes: [G, 4]; true_labels: [G]; ignored: [G], as spec.py says of "box_ignored"; areas: [G], by which small and
      large are told apart.
    """

    place: int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    true_boxes: NDArray[np.float64]
    true_labels: NDArray[np.int64]
    ignored: NDArray[np.int64]
    areas: NDArray[np.float64]


Totals = tuple[Image, ...]


def evaluator(spec: Spec, sizes: tuple[float, float] = SIZES) -> Evaluator:
    """Scores a detector from outputs boxes [B, K, 4], scores [B, K] and labels [B, K], -1 for none.

    spec: of the data, with the targets boxes and box_labels; box_ignored, box_areas and placement where it has them.
    sizes: the sides, in pixels of the original picture, of the squares whose areas divide small from medium and medium
      from large objects; an object of just that area belongs to both, as in COCO.
    """
    if not 0 < sizes[0] < sizes[1]:
        raise ValueError(f"sizes must be two sides in pixels, 0 < small < large, not {tuple(sizes)}")
    names = {role: named(spec.targets, role) for role in ("boxes", "box_labels")}
    names |= {field.role: name for name, field in spec.fields.items() if field.role in OPTIONAL}
    example = next((field.shape[:2] for field in spec.inputs.values() if field.role == "image"), (0, 0))

    def add(totals: Totals, outputs: Arrays, batch: Arrays) -> Totals:
        columns = {role: batch[name] for role, name in names.items()}
        rows = range(len(batch[INDEX]))
        said = [{name: outputs[name][row] for name in ("boxes", "scores", "labels")} for row in rows]
        true = [{role: column[row] for role, column in columns.items()} for row in rows]
        found = zip(batch[INDEX].tolist(), said, true, strict=True)
        return totals + tuple(_image(place, outputs, targets, example) for place, outputs, targets in found)

    return Evaluator(_start, add, _merged, partial(_finished, classes=spec.classes, sizes=sizes))


def _start() -> Totals:
    coco.check_installed()
    return ()


def _merged(a: Totals, b: Totals) -> Totals:
    return a + b


def _image(place: int, said: Arrays, true: Arrays, example: tuple[int, ...]) -> Image:
    found, real = said["labels"] >= 0, true["box_labels"] >= 0
    boxes, true_boxes = said["boxes"][found].astype(np.float64), true["boxes"][real].astype(np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(said["scores"][found]).all()):
        raise ValueError(f"a box or score of image {place} is NaN or infinite: did training diverge?")
    if "placement" in true:
        placement = placed(true["placement"], (example[0], example[1]))
        boxes, true_boxes = to_original(boxes, placement), to_original(true_boxes, placement)
    sides = true_boxes[:, 2:] - true_boxes[:, :2]
    areas = true["box_areas"][real].astype(np.float64) if "box_areas" in true else sides[:, 0] * sides[:, 1]
    ignored = true["box_ignored"][real] if "box_ignored" in true else np.zeros(len(areas))
    return Image(
        place,
        boxes,
        said["scores"][found].astype(np.float64),
        said["labels"][found].astype(np.int64),
        true_boxes,
        true["box_labels"][real].astype(np.int64),
        ignored.astype(np.int64),
        areas,
    )


def _finished(totals: Totals, classes: Sequence[str], sizes: tuple[float, float]) -> Scores:
    images = sorted(totals, key=lambda image: image.place)
    figures = coco.figures(images, len(classes), sizes)
    return Scores({name: Score(value) for name, value in figures.items()}, {})
