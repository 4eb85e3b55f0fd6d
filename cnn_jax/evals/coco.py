"""COCO's twelve figures by faster-coco-eval, which gives those of pycocotools to the last bit."""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cnn_jax.evals.detection import Image

NAMES = (
    ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    + ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
)  # fmt: skip


def check_installed() -> None:
    """Raises ValueError, in one line, where the library is not installed."""
    if find_spec("faster_coco_eval") is None:
        raise ValueError("scores of a detector need faster-coco-eval: pip install 'cnn_jax[detection]'")


def figures(images: Sequence["Image"], classes: int, sizes: tuple[float, float]) -> dict[str, float]:
    """The figures by name, nan where no object is in their range of sizes."""
    from faster_coco_eval import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    small, large = sizes[0] ** 2, sizes[1] ** 2
    ranges = {"small": [0, small], "medium": [small, large], "large": [large, 1e10]}
    truth, found = as_coco(images, classes)
    scored = COCOeval_faster(COCO(truth), COCO({**truth, "annotations": found}), "bbox", ranges=ranges)
    scored.run()
    return {name: math.nan if value == -1 else value for name, value in zip(NAMES, scored.stats.tolist(), strict=True)}


def as_coco(images: Sequence["Image"], classes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The truth as COCO's JSON has it, and the detections as its annotations.

    All ids are counted from 1: an annotation 0 would count as found by none. Images without objects are among them.
    An object that is ignored is given the area -1, which is in no range of sizes: COCO lets it be found without credit
    or blame, as it does with every object outside the range. Its own mark `ignore` would be overwritten by `iscrowd`.
    """
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        areas = np.where(image.ignored == 1, -1, image.areas).tolist()
        rows = zip(_bounds(image.true_boxes), image.true_labels.tolist(), image.ignored.tolist(), areas, strict=True)
        for box, label, ignored, area in rows:
            row = {"id": len(truths) + 1, "image_id": number, "category_id": label + 1, "bbox": box, "area": area}
            truths.append({**row, "iscrowd": int(ignored == 2)})
        detections = zip(_bounds(image.boxes), image.labels.tolist(), image.scores.tolist(), strict=True)
        for box, label, score in detections:
            row = {"id": len(found) + 1, "image_id": number, "category_id": label + 1, "bbox": box}
            found.append({**row, "area": box[2] * box[3], "iscrowd": 0, "score": score})
    names = [{"id": label + 1, "name": str(label)} for label in range(classes)]
    return {"images": [{"id": n + 1} for n in range(len(images))], "categories": names, "annotations": truths}, found


def _bounds(boxes: np.ndarray) -> list[list[float]]:
    """Boxes [N, 4] as left, top, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
