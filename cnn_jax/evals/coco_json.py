"""Objects and detections in COCO's JSON, by which other tools evaluate or show them, and read from it again.

All ids are counted from 1: an object 0 would count as found by none in pycocotools.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.evals.found import CROWD, IGNORED, Image, bounds

Rows = list[dict[str, Any]]


TRUTH, DETECTIONS = "truth.json", "detections.json"


def write(folder: Path, images: Sequence[Image], classes: Sequence[str], files: Sequence[str] | None = None) -> None:
    """Writes truth.json and detections.json of some images, which `found.reader` reads from outputs and batches."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRUTH).write_text(json.dumps(truth_json(images, classes, files)), encoding="utf-8")
    (folder / DETECTIONS).write_text(json.dumps(detections_json(images)), encoding="utf-8")


def read(folder: Path) -> tuple[list[Image], list[str]]:
    """The images and classes that `write` has written, to the last bit."""
    return from_json(*(json.loads((folder / name).read_text(encoding="utf-8")) for name in (TRUTH, DETECTIONS)))


def truth_json(images: Sequence[Image], classes: Sequence[str], files: Sequence[str] | None = None) -> dict[str, Any]:
    """The objects as an annotation file: images with the id place + 1, categories with the id class + 1.

    Images without objects are listed, too. files: of the images. `ignore` is not COCO's, which has crowds alone.
    """
    rows: Rows = []
    for image in images:
        columns = (bounds(image.true_boxes), image.true_labels, image.ignored, image.areas)
        for box, label, ignored, area in zip(*(column.tolist() for column in columns), strict=True):
            row = {"id": len(rows) + 1, "image_id": image.place + 1, "category_id": label + 1, "bbox": box}
            rows.append({**row, "area": area, "iscrowd": int(ignored == CROWD), "ignore": int(ignored == IGNORED)})
    names = files or [f"{image.place}" for image in images]
    return {
        "images": [
            {"id": image.place + 1, "file_name": name, "height": image.size[0], "width": image.size[1]}
            for image, name in zip(images, names, strict=True)
        ],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(classes)],
        "annotations": rows,
    }


def detections_json(images: Sequence[Image]) -> Rows:
    """The detections as a file of results."""
    rows: Rows = []
    for image in images:
        columns = (bounds(image.boxes), image.labels, image.scores)
        for box, label, score in zip(*(column.tolist() for column in columns), strict=True):
            rows.append({"image_id": image.place + 1, "category_id": label + 1, "bbox": box, "score": score})
    return rows


def from_json(truth: Mapping[str, Any], found: Rows) -> tuple[list[Image], list[str]]:
    """The images and classes of which `truth_json` and `detections_json` are."""
    images = []
    true_of, found_of = _by_image(truth["annotations"]), _by_image(found)
    for row in truth["images"]:
        objects, mine = true_of.get(row["id"], []), found_of.get(row["id"], [])
        images.append(
            Image(
                row["id"] - 1,
                (row["height"], row["width"]),
                _corners(mine),
                np.array([one["score"] for one in mine], float),
                np.array([one["category_id"] - 1 for one in mine], np.int64),
                _corners(objects),
                np.array([one["category_id"] - 1 for one in objects], np.int64),
                np.array([CROWD * one["iscrowd"] + IGNORED * one["ignore"] for one in objects], np.int64),
                np.array([one["area"] for one in objects], float),
            )
        )
    return images, [category["name"] for category in truth["categories"]]


def _by_image(rows: Rows) -> dict[int, Rows]:
    found: dict[int, Rows] = {}
    for row in rows:
        found.setdefault(row["image_id"], []).append(row)
    return found


def _corners(rows: Rows) -> np.ndarray:
    boxes = np.array([row["bbox"] for row in rows], float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
