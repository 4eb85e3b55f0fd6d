"""Objects and detections in COCO's JSON, by which other tools evaluate or show them, and read from it again.

Images and categories have the ids that they have in the annotations, where they come from such; else those are counted
from 1, as those of objects always are: an object 0 would count as found by none in pycocotools.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.annotated import Name
from cnn_jax.evals.found import CROWD, IGNORED, Image, bounds

Rows = list[dict[str, Any]]


TRUTH, DETECTIONS = "truth.json", "detections.json"


class Ids(NamedTuple):
    """images: {place: id}; classes: [K]; those that are not known are counted from 1."""

    images: Mapping[int, int | str] = {}
    classes: Sequence[int] = ()

    def image(self, image: Image) -> int | str:
        """Of an image."""
        return self.images.get(image.place, image.place + 1)

    def category(self, label: int) -> int:
        """Of a class."""
        return self.classes[label] if self.classes else label + 1


def ids_of(names: Mapping[int, str], class_ids: Sequence[int] = ()) -> Ids:
    """The ids in the annotations, of images by the names {place: name} that their source gives them.

    Images are counted from 1 where they have no ids, as those of two files may be, or some are texts and others not.
    """
    found = {place: name.id for place, name in names.items() if isinstance(name, Name)}
    same = len({type(key) for key in found.values()}) == 1 and len(set(found.values())) == len(names)
    return Ids(found if same else {}, class_ids)


def write(
    folder: Path,
    images: Sequence[Image],
    classes: Sequence[str],
    files: Sequence[str] | None = None,
    ids: Ids = Ids(),  # noqa: B008
) -> None:
    """Writes truth.json and detections.json of some images, which `found.reader` reads from outputs and batches."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRUTH).write_text(json.dumps(truth_json(images, classes, files, ids)), encoding="utf-8")
    (folder / DETECTIONS).write_text(json.dumps(detections_json(images, ids)), encoding="utf-8")


def read(folder: Path) -> tuple[list[Image], list[str]]:
    """The images and classes that `write` has written with no ids but its own, to the last bit."""
    return from_json(*(json.loads((folder / name).read_text(encoding="utf-8")) for name in (TRUTH, DETECTIONS)))


def truth_json(
    images: Sequence[Image],
    classes: Sequence[str],
    files: Sequence[str] | None = None,
    ids: Ids = Ids(),  # noqa: B008
) -> dict[str, Any]:
    """The objects as an annotation file.

    Images without objects are listed, too. files: of the images. `ignore` is not COCO's, which has crowds alone.
    """
    rows: Rows = []
    for image in images:
        columns = (bounds(image.true_boxes), image.true_labels, image.ignored, image.areas)
        for box, label, ignored, area in zip(*(column.tolist() for column in columns), strict=True):
            row = {"id": len(rows) + 1, "image_id": ids.image(image), "category_id": ids.category(label)}
            row |= {"bbox": box}
            rows.append({**row, "area": area, "iscrowd": int(ignored == CROWD), "ignore": int(ignored == IGNORED)})
    names = [getattr(name, "file", name) for name in files or [f"{image.place}" for image in images]]
    return {
        "images": [
            {
                "id": ids.image(image),
                "file_name": name,
                "height": image.size[0],
                "width": image.size[1],
            }
            for image, name in zip(images, names, strict=True)
        ],
        "categories": [{"id": ids.category(label), "name": name} for label, name in enumerate(classes)],
        "annotations": rows,
    }


def detections_json(images: Sequence[Image], ids: Ids = Ids()) -> Rows:  # noqa: B008
    """The detections as a file of results."""
    rows: Rows = []
    for image in images:
        columns = (bounds(image.boxes), image.labels, image.scores)
        for box, label, score in zip(*(column.tolist() for column in columns), strict=True):
            row = {"image_id": ids.image(image), "category_id": ids.category(label), "bbox": box}
            rows.append({**row, "score": score})
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
