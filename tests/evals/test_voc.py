"""VOC's average precision against its development kit's loop, and COCO's JSON out and in again."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from cnn_jax.evals.coco_json import detections_json, from_json, truth_json
from cnn_jax.evals.found import CROWD, Image, bounds, columns, reader
from cnn_jax.evals.matching import iou
from cnn_jax.evals.voc import voc
from tests.evals import detection_sets as sets

CLASSES = 5


def images(seed: int) -> list[Image]:
    outputs, batch = sets.drawn(seed, images=10, found=40)
    return list(reader(sets.spec(9, CLASSES))(outputs, batch))


def devkit(some: list[Image], label: int) -> tuple[float, float]:
    """What VOCevaldet.m does, for both years."""
    objects = sum(int(((image.true_labels == label) & (image.ignored == 0)).sum()) for image in some)
    found = [(one.scores[d], n, d) for n, one in enumerate(some) for d in np.flatnonzero(one.labels == label)]
    hits, taken = [], set()
    for _, n, d in sorted(found, key=lambda one: -one[0]):
        image = some[n]
        best, most = None, -np.inf
        for g in np.flatnonzero(image.true_labels == label):
            crowd = image.ignored[g : g + 1] == CROWD
            shared = float(iou(bounds(image.boxes[d : d + 1]), bounds(image.true_boxes[g : g + 1]), crowd)[0])
            if shared > most:
                best, most = g, shared
        if most >= 0.5 and image.ignored[best]:
            continue
        hits.append(most >= 0.5 and (n, best) not in taken)
        if most >= 0.5:
            taken.add((n, best))
    right, said = np.cumsum(hits), np.arange(1, len(hits) + 1)
    recall, precision = right / objects, right / said
    eleven = [max(precision[10 * right >= level * objects], default=0) for level in range(11)]
    rec, pre = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    for i in reversed(range(len(pre) - 1)):
        pre[i] = max(pre[i], pre[i + 1])
    return float(np.mean(eleven)), float(sum((rec[i] - rec[i - 1]) * pre[i] for i in range(1, len(rec))))


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_development_kit(seed: int) -> None:
    some = images(seed)
    found = voc(*columns(some), CLASSES)
    for label in range(CLASSES):
        if any(((image.true_labels == label) & (image.ignored == 0)).any() for image in some):
            assert found[label] == pytest.approx(devkit(some, label), abs=1e-12)
        else:
            assert np.isnan(found[label]).all()
    assert np.nanmax(found) > 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_coco_json_gives_the_same_images_again(seed: int, shifted: bool) -> None:
    some = images(seed)
    if shifted:  # as boxes are that were brought back from a resized picture
        shrunk = [(one.boxes / 3).astype(np.float32).astype(float) for one in some]
        some = [one._replace(boxes=boxes) for one, boxes in zip(some, shrunk, strict=True)]
    names = [f"class {k}" for k in range(CLASSES)]
    written = json.loads(json.dumps([truth_json(some, names), detections_json(some)]))
    again, classes = from_json(*written)
    assert classes == names and len(again) == len(some)
    for one, other in zip(some, again, strict=True):
        for name in Image._fields:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_coco_json_is_what_pycocotools_reads() -> None:
    some = images(0)
    truth, found = truth_json(some, [f"class {k}" for k in range(CLASSES)], ["a.jpg"] * 10), detections_json(some)
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    assert len(coco.loadRes(found).anns) == sum(len(one.scores) for one in some)
    assert 0 not in coco.anns and 0 not in coco.imgs and 0 not in coco.cats and len(coco.imgs) == 10
    assert coco.imgs[1] == {"id": 1, "file_name": "a.jpg", "height": sets.SIZE, "width": sets.SIZE}
