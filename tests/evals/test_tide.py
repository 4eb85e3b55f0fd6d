"""TIDE's six bins against hotcoco and against the definition, and the confusion matrix against its rule."""

import contextlib
import io
import json
from pathlib import Path

import hotcoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.evals.confusion import best_threshold, confusion
from cnn_jax.evals.found import CROWD, Detections, Truths, columns, reader
from cnn_jax.evals.matching import iou
from cnn_jax.evals.tide import BKG, BOTH, DUPE, KINDS, Tide, tide
from tests.evals import detection_sets as sets

CLASSES = 5


def rows(outputs: sets.Rows, batch: sets.Rows) -> tuple[Detections, Truths]:
    return columns(reader(sets.spec(batch["what"].shape[1], CLASSES))(outputs, batch))


def of_hotcoco(outputs: sets.Rows, batch: sets.Rows, folder: Path) -> dict:
    truth, results = sets.as_coco(outputs, batch, CLASSES)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        objects = hotcoco.COCO(str(folder / "truth.json"))
        evaluation = hotcoco.COCOeval(objects, objects.load_res(str(folder / "found.json")), "bbox")
        evaluation.evaluate()
        return evaluation.tide_errors(0.5, 0.1)


@pytest.mark.parametrize("seed", range(8))
def test_bins_are_those_of_hotcoco(seed: int, tmp_path: Path) -> None:
    """Without crowds, which it takes for evidence. Its costs of cls, loc and miss are not those of the paper."""
    outputs, batch = sets.drawn(seed, images=30, ignored=0)
    expected, found = of_hotcoco(outputs, batch, tmp_path), tide(*rows(outputs, batch), CLASSES)
    counts = [*(int((found.kind == kind).sum()) for kind in range(5)), int(found.missed.sum())]
    assert dict(zip(KINDS, counts, strict=True)) == {name.lower(): n for name, n in expected["counts"].items()}
    for kind in (BOTH, DUPE, BKG):
        cost = {name.lower(): value for name, value in expected["delta_ap"].items()}[KINDS[kind]]
        assert found.cost[kind] == pytest.approx(max(cost, 0), abs=1e-12)


def overlap(detections: Detections, d: int, truths: Truths, g: int) -> float:
    crowd = truths.ignored[g : g + 1] == CROWD
    return float(iou(detections.bounds[d : d + 1], truths.bounds[g : g + 1], crowd)[0])


def precision(found: list[tuple[float, bool]], objects: int) -> float:
    """COCO's average precision of (score, right), the earlier first of equal ones."""
    right, said, curve = 0, 0, []
    for _, hit in sorted(found, key=lambda one: -one[0]):
        right, said = right + hit, said + 1
        curve.append((right / objects, right / said))
    best = [max((p for r, p in curve if r >= level), default=0) for level in np.linspace(0, 1, 101)]
    return float(np.mean(best))


def defined(detections: Detections, truths: Truths, found: Tide) -> list[float]:
    """The costs by the paper and its code, from the bins."""
    objects = [int((truths.counts & (truths.label == k)).sum()) for k in range(CLASSES)]
    taken = set()
    for d in np.flatnonzero(found.right):
        able = [
            g
            for g in np.flatnonzero(truths.counts & (truths.image == detections.image[d]))
            if truths.label[g] == detections.label[d] and overlap(detections, d, truths, g) >= 0.5 and g not in taken
        ]
        taken.add(max(reversed(able), key=lambda g: overlap(detections, d, truths, g)))

    def mean(mended: int) -> float:
        points: list[list[tuple[float, bool]]] = [[] for _ in range(CLASSES)]
        left, done = list(objects), set()
        for d in np.argsort(-detections.score, kind="stable"):
            label, target = detections.label[d], found.target[d]
            if not found.counts[d]:
                continue
            if found.kind[d] != mended:
                points[label].append((detections.score[d], bool(found.right[d])))
            elif target >= 0 and target not in taken and target not in done:
                points[truths.label[target]].append((detections.score[d], True))
            done.add(target)
        if mended == len(KINDS) - 1:
            for g in np.flatnonzero(found.missed):
                left[truths.label[g]] -= 1
        known = [k for k in range(CLASSES) if objects[k]]
        return float(np.mean([precision(points[k], left[k]) if left[k] else 0 for k in known]))

    return [max(mean(kind) - mean(-2), 0) for kind in range(len(KINDS))]


@pytest.mark.parametrize("seed", range(5))
def test_costs_are_those_of_the_definition(seed: int) -> None:
    some = rows(*sets.drawn(seed, images=20, objects=12, found=30))
    found = tide(*some, CLASSES)
    assert found.cost == pytest.approx(defined(*some, found), abs=1e-12)
    assert (found.cost > 0).sum() >= 4


def test_one_of_each_kind() -> None:
    """Two objects of class 0, two of 1, and an ignored one, which is no evidence; IoUs of .1 and .5 are bounds."""
    objects = [[0, 0, 40, 40], [100, 0, 140, 40], [0, 100, 40, 140], [100, 100, 140, 140], [60, 60, 80, 80]]
    boxes = [[0, 0, 40, 40], [0, 0, 40, 39], [100, 0, 140, 4], [0, 100, 40, 120], [0, 100, 40, 110], [60, 60, 80, 80]]
    outputs = {
        "boxes": np.array([boxes], np.float32),
        "scores": np.linspace(0.9, 0.4, 6, dtype=np.float32)[None],
        "labels": np.array([[0, 0, 0, 0, 0, 0]], np.int32),
    }
    batch = {
        "where": np.array([objects], np.float32), "what": np.array([[0, 0, 1, 1, 1]], np.int32),
        "skip": np.array([[0, 0, 0, 0, 1]], np.uint8), "area": np.full((1, 5), 1600, np.float32),
        "index": np.array([0]),
    }  # fmt: skip
    found = tide(*rows(outputs, batch), CLASSES)
    named = [KINDS[kind] if kind >= 0 else "" for kind in found.kind]
    assert named == ["", "dupe", "loc", "cls", "both", "bkg"] and found.right.tolist() == [True] + 5 * [False]
    assert found.missed.tolist() == [False, False, False, True, False]
    assert found.target.tolist() == [-1, -1, 1, 2, -1, -1]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 0.35, 0.8]))
def test_every_object_is_in_one_row_and_every_detection_in_one_column(seed: int, threshold: float) -> None:
    outputs, batch = sets.drawn(seed, ignored=0)
    detections, truths = rows(outputs, batch)
    matrix = confusion(detections, truths, CLASSES, threshold)
    sure = detections.label[detections.score >= threshold]
    assert matrix[:-1].sum(1).tolist() == np.bincount(truths.label, minlength=CLASSES).tolist()
    assert matrix[:, :-1].sum(0).tolist() == np.bincount(sure, minlength=CLASSES).tolist()
    assert matrix[-1, -1] == 0


@pytest.mark.parametrize("seed", range(5))
def test_confusion_by_plain_loops(seed: int) -> None:
    detections, truths = rows(*sets.drawn(seed, objects=12, found=20, ignored=0.3))
    threshold = best_threshold(detections, truths, tide(detections, truths, CLASSES))
    expected, taken = np.zeros((CLASSES + 1, CLASSES + 1), int), set()
    sure = [d for d in np.lexsort((-detections.score, detections.image)) if detections.score[d] >= threshold]
    for d in sure:
        here = [
            g for g in np.flatnonzero(truths.image == detections.image[d]) if overlap(detections, d, truths, g) >= 0.5
        ]
        free = [g for g in here if g not in taken or truths.ignored[g] == CROWD]
        best = max(reversed(free), key=lambda g: (truths.counts[g], overlap(detections, d, truths, g)), default=None)
        taken.add(best)
        if best is None or truths.counts[best]:
            expected[CLASSES if best is None else truths.label[best], detections.label[d]] += 1
    for g in set(np.flatnonzero(truths.counts)) - taken:
        expected[truths.label[g], CLASSES] += 1
    np.testing.assert_array_equal(confusion(detections, truths, CLASSES, threshold), expected)


def test_the_threshold_is_where_precision_and_recall_are_best_balanced() -> None:
    detections, truths = rows(*sets.drawn(3, images=30))
    found = tide(detections, truths, CLASSES)
    scores = np.unique(detections.score[found.counts])
    sure = detections.score >= scores[:, None]
    hits, said = (sure & found.right).sum(1), (sure & found.counts).sum(1)
    f1 = 2 * hits / (said + truths.counts.sum())
    assert best_threshold(detections, truths, found) == scores[::-1][f1[::-1].argmax()]
