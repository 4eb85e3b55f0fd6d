"""Sets of images with objects and detections that have what evaluators get wrong, and pycocotools' figures of them."""

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import INDEX, Field, Spec

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
NAMES += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
SIZE = 200  # pixels of a side of an image

Rows = dict[str, np.ndarray]


def spec(objects: int, classes: int, *, ignored: bool = True, areas: bool = True, placement: bool = False) -> Spec:
    targets = {"where": Field("boxes", (objects, 4), "float32"), "what": Field("box_labels", (objects,), "int32")}
    targets |= {"skip": Field("box_ignored", (objects,), "uint8")} if ignored else {}
    targets |= {"area": Field("box_areas", (objects,), "float32")} if areas else {}
    inputs = {"picture": Field("image", (SIZE, SIZE, 3), "uint8")}
    inputs |= {"lies": Field("placement", (6,), "float32")} if placement else {}
    names = tuple(f"class {k}" for k in range(classes))
    return Spec(
        name="drawn", classes=names, inputs=inputs, targets=targets, prepare=ImagePrepare(), licence="", citation="",
        fingerprint="",
    )  # fmt: skip


def drawn(
    seed: int, images: int = 12, classes: int = 5, objects: int = 9, found: int = 14, ignored: float = 0.2
) -> tuple[Rows, Rows]:
    """Outputs and a batch. Boxes have whole or quarter pixels and scores one digit, so that IoUs and scores tie.

    The last class but one has no objects, the last one no detections; some images have none of the one or the other.
    """
    rng = np.random.default_rng(seed)
    true, said = _boxes(rng, (images, objects)), _boxes(rng, (images, found))
    near = rng.random((images, found)) < 0.6
    which = rng.integers(objects, size=(images, found))
    moved = np.take_along_axis(true, which[..., None], 1) + rng.integers(-12, 13, (images, found, 4)) / 4
    moved[..., 2:] = np.maximum(moved[..., 2:], moved[..., :2] + 0.25)
    what = rng.integers(classes - 1, size=(images, objects))
    what[what == classes - 2] = classes - 1
    labels = np.where(near & (rng.random(near.shape) < 0.8), np.take_along_axis(what, which, 1), classes - 2)
    labels = np.where(rng.random(near.shape) < 0.3, rng.integers(classes - 1, size=near.shape), labels)
    labels[labels == classes - 1] = 0
    scores = -np.sort(-np.round(rng.random((images, found)), 1), axis=1)
    labels[rng.random(images) < 0.15] = -1
    what[rng.random(images) < 0.15] = -1
    what[:, rng.integers(objects) :] = np.where(rng.random((images, 1)) < 0.5, -1, what[:, rng.integers(objects), None])
    skip = np.where(rng.random(what.shape) < ignored, rng.integers(1, 3, what.shape), 0)
    sides = true[..., 2:] - true[..., :2]
    area = np.where(rng.random(what.shape) < 0.5, sides.prod(-1), rng.choice([32.0**2, 96.0**2, 500], what.shape))
    outputs = {
        "boxes": np.where(near[..., None], moved, said).astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": labels.astype(np.int32),
    }
    batch = {
        "where": true.astype(np.float32),
        "what": what.astype(np.int32),
        "skip": skip.astype(np.uint8),
        "area": area.astype(np.float32),
        INDEX: np.arange(images),
    }
    return outputs, batch


def _boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    sides = rng.choice([3, 10, 32, 33, 96, 120], (*shape, 2))
    corner = rng.integers(0, SIZE - sides + 1)
    return np.concatenate([corner, corner + sides], -1).astype(float)


def as_coco(outputs: Rows, batch: Rows, classes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The truth and the results as COCO's files have them, by plain loops."""
    annotations: list[dict[str, Any]] = []
    results = []
    for row, place in enumerate(batch[INDEX].tolist()):
        for n in np.flatnonzero(batch["what"][row] >= 0):
            x0, y0, x1, y1 = batch["where"][row, n].astype(float).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": place + 1, "category_id": int(batch["what"][row, n]) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "area": float(batch["area"][row, n]),
                    "iscrowd": int(batch["skip"][row, n] == 2), "skip": int(batch["skip"][row, n] == 1),
                }
            )  # fmt: skip
        for n in np.flatnonzero(outputs["labels"][row] >= 0):
            x0, y0, x1, y1 = outputs["boxes"][row, n].astype(float).tolist()
            results.append(
                {
                    "image_id": place + 1, "category_id": int(outputs["labels"][row, n]) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "score": float(outputs["scores"][row, n]),
                }
            )  # fmt: skip
    images = [{"id": place + 1, "width": SIZE, "height": SIZE} for place in sorted(batch[INDEX].tolist())]
    categories = [{"id": k + 1, "name": f"class {k}"} for k in range(classes)]
    return {"images": images, "categories": categories, "annotations": annotations}, results


class _KeepsIgnored(COCOeval):
    """pycocotools overwrites the mark of ignored objects by that of crowds."""

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for one in objects:
                one["ignore"] = one["ignore"] or one["skip"]


def of_pycocotools(
    outputs: Rows, batch: Rows, classes: int, sizes: tuple[float, float] = (32, 96)
) -> tuple[dict[str, float], COCOeval]:
    """The twelve figures, nan for -1, and the evaluation they are of."""
    truth, results = as_coco(outputs, batch, classes)
    small, large = sizes[0] ** 2, sizes[1] ** 2
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO()
        objects.dataset = truth
        objects.createIndex()
        found = objects.loadRes(results) if results else COCO()  # which fails for none
        scored = _KeepsIgnored(objects, found, "bbox")
        scored.params.areaRng = [[0, 1e10], [0, small], [small, large], [large, 1e10]]
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return {name: np.nan if value < 0 else value for name, value in zip(NAMES, scored.stats, strict=True)}, scored
