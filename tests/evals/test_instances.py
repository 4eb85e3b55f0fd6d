"""Scores of single objects against StarDist's and panopticapi's definitions, and what must not change them."""

import dataclasses
import json
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hotcoco.panoptic import PanopticEval
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import IGNORED, INDEX, Field, Spec
from cnn_jax.evals import extremes, instances, panoptic, segments
from cnn_jax.evals.evaluator import Scores, plain, to_json
from tests.evals import segment_definitions as by_hand
from tests.evals.test_detection import assert_same

SIDE = 14


def spec(void: bool = False) -> Spec:
    targets = {"cells": Field("instance_map", (SIDE, SIDE), "uint16")}
    targets |= {"kind": Field("class_map", (SIDE, SIDE), "uint8")} if void else {}
    return Spec(
        name="drawn", classes=("background", "cell"), inputs={"image": Field("image", (SIDE, SIDE, 3), "uint8")},
        targets=targets, prepare=ImagePrepare(), licence="", citation="", fingerprint="",
    )  # fmt: skip


def drawn(seed: int, images: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted maps of rectangles, some of them whole, halved or merged: image 0 is empty in both.

    Numbers have gaps and differ between the two. An object in two halves has an IoU of .5 with each.
    """
    rng = np.random.default_rng(seed)
    truth, said = (np.zeros((images, SIDE, SIDE), np.uint16) for _ in range(2))
    for row in range(1, images):
        for n in rng.choice(300, rng.integers(0, 6), replace=False) + 1:
            (y, x), (tall, wide) = rng.integers(0, SIDE - 4, 2), 2 * rng.integers(1, 4, 2)
            place = np.s_[row, y : y + tall, x : x + wide]
            kind = rng.integers(5)
            ours = (said, truth) if kind == 4 else (truth, said)
            ours[0][place] = n
            if kind in (0, 4):
                ours[1][row, y : y + tall // 2, x : x + wide], ours[1][row, y + tall // 2 : y + tall, x : x + wide] = (
                    n,
                    n + 400,
                )
            elif kind != 3:
                y, x = np.maximum((y, x) + rng.integers(-1, 2, 2), 0)
                ours[1][row, y : y + tall, x : x + wide] = 999 - n
        if rng.random() < 0.2:
            (truth, said)[rng.integers(2)][row] = 0
    return truth, said


def scored(truth: np.ndarray, said: np.ndarray, pieces: int = 1, order: np.ndarray | None = None) -> Scores:
    evaluator = instances.evaluator(spec())
    totals = evaluator.start()
    for rows in np.array_split(np.arange(len(truth)) if order is None else order, pieces):
        totals = evaluator.add(totals, {"instance_map": said[rows]}, {"cells": truth[rows], INDEX: rows})
    return evaluator.finish(totals)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_objects_are_matched_as_stardist_matches_them(seed: int) -> None:
    truth, said = drawn(seed)
    found, levels = scored(truth, said), instances.THRESHOLDS
    each = np.array([[by_hand.stardist(*maps, level) for level in levels] for maps in zip(truth, said, strict=True)])
    together = each.sum(0)
    np.testing.assert_array_equal(found.tables["matches"], together[:, :3])
    hits, wrong, missed, iou = together.T
    average = [by_hand.average_precision(*row) for row in together[:, :3]]
    np.testing.assert_allclose(found.tables["average_precision"], average, rtol=1e-12)
    with np.errstate(invalid="ignore"):
        expected = {"precision": hits / (hits + wrong), "recall": hits / (hits + missed), "mean_iou": iou / hits}
        expected["f1"] = 2 * hits / (2 * hits + wrong + missed)
    for name, values in expected.items():
        np.testing.assert_allclose(found.tables[name], values, atol=1e-8, err_msg=name)
    whole = np.zeros(4)
    for maps in zip(truth, said, strict=True):
        labels = ({int(n): 0 for n in np.unique(numbers) if n} for numbers in maps)
        whole += by_hand.panoptic(*maps, np.zeros_like(truth[0]), *labels).get(0, 0)
    quality = (whole[0] / (whole[1] + (whole[2] + whole[3]) / 2), whole[0] / whole[1] if whole[1] else np.nan)
    names = ("panoptic_quality", "segmentation_quality")
    assert [found.numbers[name].value for name in names] == pytest.approx(quality, abs=1e-8, nan_ok=True)
    by_image = [np.mean([by_hand.average_precision(*row[:3]) for row in one]) for one in each]
    filled = ((truth > 0) & (said > 0)).sum() / max(((truth > 0) | (said > 0)).sum(), 1)
    assert found.numbers["ap"].value == pytest.approx(np.mean(average), nan_ok=True)
    assert found.numbers["ap50"].value == average[0] and found.numbers["ap75"].value == average[5]
    assert found.numbers["image_ap"].value == pytest.approx(np.nanmean(by_image), abs=1e-8)
    assert found.numbers["foreground_iou"].value == pytest.approx(filled)
    scores = {int(place): score for place, score in found.tables["image_scores"]}
    assert scores == {place: pytest.approx(score) for place, score in enumerate(by_image) if np.isfinite(score)}


def test_halves_match_once() -> None:
    """At IoU .5 an object may match either of its halves, in both directions, but one of them alone."""
    whole, halves = np.full((4, 4), 7), np.repeat([[2, 5]], 4, 0).repeat(2, 1)
    for truth, said in ((whole, halves), (halves, whole)):
        found = segments.overlaps(truth, said)
        assert found.iou.tolist() == [0.5, 0.5] and len(segments.matches(found, 0.5)) == 1
        assert len(segments.matches(found, 0.55)) == 0 and panoptic.matched(found).hits.tolist() == [0]
    assert segments.counts(segments.overlaps(whole, halves), np.array([0])) == (1, 1, 0)
    with pytest.raises(ValueError, match="at an IoU of .5 or more"):
        segments.matches(found, 0.4)


Labels = dict[int, int]


def labelled(seed: int) -> tuple[np.ndarray, np.ndarray, Labels, Labels]:
    """True and predicted numbers [12, 16] in blocks, and their classes; 0 is void, and segments of their own lie there.

    Most predicted segments are a true one with noise, of the same class.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 7, (4, 4)).repeat(3, 0).repeat(4, 1)
    said = np.where(truth > 0, truth + 20, 40 + np.arange(16) // 4)
    said = np.where(rng.random(said.shape) < 0.4, rng.integers(0, 30, said.shape), said)
    true_labels, said_labels = ({int(n): int(rng.integers(3)) for n in np.unique(some) if n} for some in (truth, said))
    for n in true_labels:
        if n + 20 in said_labels and rng.random() < 0.8:
            said_labels[n + 20] = true_labels[n]
    return truth, said, true_labels, said_labels


def of_hotcoco(truth: np.ndarray, said: np.ndarray, true_labels: Labels, said_labels: Labels, folder: Path) -> dict:
    """What hotcoco says of one image, whose figures are panopticapi's."""
    for name, numbers, classes in (("truth", truth, true_labels), ("said", said, said_labels)):
        (folder / name).mkdir()
        Image.fromarray(np.pad(numbers[..., None], ((0, 0), (0, 0), (0, 2))).astype(np.uint8)).save(
            folder / name / "1.png"
        )
        listed = [
            {"id": n, "category_id": k, "iscrowd": 0, "area": int((numbers == n).sum())} for n, k in classes.items()
        ]
        height, width = numbers.shape
        content = {
            "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": listed}],
            "images": [{"id": 1, "file_name": "1.png", "width": width, "height": height}],
            "categories": [{"id": k, "name": str(k), "isthing": 1} for k in range(4)],
        }
        (folder / f"{name}.json").write_text(json.dumps(content))
    oracle = PanopticEval(str(folder / "truth.json"), str(folder / "said.json"))
    oracle.evaluate()
    return {int(k): row for k, row in oracle.results()["per_class"].items()}


@pytest.mark.parametrize("seed", range(5))
def test_panoptic_quality_is_that_of_panopticapi(seed: int, tmp_path: Path) -> None:
    truth, said, true_labels, said_labels = labelled(seed)
    found = segments.overlaps(truth, said, truth == 0)
    known = ((true_labels, found.true_ids), (said_labels, found.said_ids))
    sums = panoptic.matched(found, *(np.array([labels[n] for n in ids], int) for labels, ids in known), classes=4)
    scores = panoptic.quality(sums)
    assert found.dropped.any() and sums.hits.any() and sums.wrong.any() and np.isnan(scores.panoptic[3])
    for label, expected in by_hand.panoptic(truth, said, truth == 0, true_labels, said_labels).items():
        assert [float(table[label]) for table in sums] == pytest.approx(expected)
    for label, row in of_hotcoco(truth, said, true_labels, said_labels, tmp_path).items():
        assert [row[name] for name in ("iou", "tp", "fp", "fn")] == pytest.approx([float(t[label]) for t in sums])
        if row["pq"] >= 0:  # -1 for none
            assert row["pq"] == pytest.approx(scores.panoptic[label])


def test_panoptic_quality_by_hand() -> None:
    """What is void counts neither in the union nor, where it is most of a segment, as a mistake."""
    truth, said = np.zeros((2, 10), int), np.zeros((2, 10), int)
    truth[0] = [1, 1, 1, 1, 0, 0, 0, 2, 2, 2]
    said[0] = [5, 5, 5, 0, 5, 5, 6, 6, 7, 7]  # 5: 3 of 1 and two of void
    said[1, :3] = 8  # nothing but void
    with_void, without = (panoptic.matched(segments.overlaps(truth, said, void)) for void in (truth == 0, None))
    # 1 and 5: 3 / 4, not 3 / 6; 2 and 7: 2 / 3. 6 is half void, which is not most of it: it is wrong; 8 is dropped.
    assert [float(v[0]) for v in with_void] == pytest.approx([3 / 4 + 2 / 3, 2, 1, 0])
    assert [float(v[0]) for v in without] == pytest.approx([2 / 3, 1, 3, 1])
    scores = panoptic.quality(with_void)
    assert scores.panoptic[0] == pytest.approx((3 / 4 + 2 / 3) / 2.5) and scores.recognition[0] == 2 / 2.5
    assert scores.panoptic[0] == pytest.approx(scores.segmentation[0] * scores.recognition[0])


def test_void_leaves_every_score_of_objects() -> None:
    truth, said, kind = (np.zeros((1, 4, 10), np.uint8) for _ in range(3))
    kind[:, :, 4:] = IGNORED
    truth[0, 0, :6], truth[0, 3, 5:] = 1, 2  # the second is not known at all
    said[0, 0, :7] = 5  # just the known pixels of 1
    said[0, 1, 3:] = 6  # unknown in the main
    said[0, 2, 1:6] = 7  # known in the main: wrong
    evaluator = instances.evaluator(spec(void=True))
    batch = {"cells": truth, "kind": kind, INDEX: np.arange(1)}
    found = evaluator.finish(evaluator.add(evaluator.start(), {"instance_map": said}, batch))
    assert found.tables["matches"].tolist() == [[1, 1, 0]] * 9
    assert found.tables["counted"].tolist() == [1, 0, 1, 3, 1]
    expected = {name: 0.5 for name in ("ap", "ap50", "ap75", "image_ap", "foreground_iou")}
    expected |= {"panoptic_quality": 2 / 3, "segmentation_quality": 1, "recognition_quality": 2 / 3}
    assert plain(found) == pytest.approx(expected)
    batch["kind"] = kind * 0
    whole = evaluator.finish(evaluator.add(evaluator.start(), {"instance_map": said}, batch))
    assert_same(whole, scored(truth, said))
    assert whole.tables["matches"][0].tolist() == [1, 2, 1]


def test_objects_that_are_ignored_are_void() -> None:
    truth, said = np.zeros((2, 4, 10), np.uint8), np.zeros((2, 4, 10), np.uint8)
    truth[:, 0, :6], truth[:, 3, 5:] = 1, 2
    said[:, 0, :6], said[:, 3, 4:] = 5, 6
    about = spec()
    targets = {**about.targets, "marked": Field("box_ignored", (3,), "uint8")}
    evaluator = instances.evaluator(dataclasses.replace(about, targets=targets))
    batch = {"cells": truth, "marked": np.uint8([[0, 1, 0], [1, 0, 0]]), INDEX: np.arange(2)}
    found = evaluator.finish(evaluator.add(evaluator.start(), {"instance_map": said}, batch))
    # In the first image 6 lies on void in the main; in the second 5 does, and 6 is matched, 5 of its 6 pixels.
    assert found.tables["matches"][[0, -1]].tolist() == [[2, 0, 0], [1, 1, 1]]
    assert found.tables["counted"].tolist() == [2, 0, 2, 4, 2]
    assert found.numbers["foreground_iou"].value == pytest.approx((6 + 5) / (7 + 6))


def test_any_order_batch_size_and_process_gives_the_same_bits() -> None:
    truth, said = drawn(3, images=25)
    whole = scored(truth, said)
    order = np.random.default_rng(0).permutation(25)
    for pieces in (1, 6, 25):
        assert_same(whole, scored(truth, said, pieces, order))
    evaluator = instances.evaluator(spec())
    parts = [
        evaluator.add(
            evaluator.start(), {"instance_map": said[k::4]}, {"cells": truth[k::4], INDEX: np.arange(25)[k::4]}
        )
        for k in range(4)
    ]
    random.Random(0).shuffle(parts)
    merged = evaluator.start()
    for part in parts:
        merged = evaluator.merge(part, merged)
    assert_same(whole, evaluator.finish(merged))
    # Nor do the numbers of objects: they are names.
    renamed = np.random.default_rng(1).permutation(1500).astype(np.uint16)
    renamed[np.flatnonzero(renamed == 0)], renamed[0] = renamed[0], 0
    other = scored(renamed[truth], renamed[said])
    assert other.numbers == whole.numbers


def test_intervals_hold_the_score_and_shrink_with_the_set() -> None:
    widths = []
    for images in (20, 320):
        found = scored(*drawn(8, images=images))
        assert all(0 <= score.low <= score.value <= score.high <= 1 for score in found.numbers.values())
        widths.append(np.mean([score.high - score.low for score in found.numbers.values()]))
        low, middle, high = (found.tables[f"average_precision{end}"] for end in ("_low", "", "_high"))
        assert ((low <= middle) & (middle <= high)).all()
    assert 0.15 < widths[1] / widths[0] < 0.4


def test_the_best_and_the_worst_images_are_kept_with_their_maps() -> None:
    truth, said = drawn(6, images=20)
    tables = scored(truth, said, 3).tables
    scores = tables["image_scores"][:, 1]
    for name, ordered in (("best", sorted(scores, reverse=True)), ("worst", sorted(scores))):
        assert tables[name][:, 1].tolist() == ordered[: extremes.SHOWN]
        np.testing.assert_array_equal(tables[f"{name}_maps"], said[tables[name][:, 0].astype(int)])


def test_where_something_is_missing() -> None:
    truth, said = drawn(2)
    evaluator = instances.evaluator(spec())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing, missed, invented = scored(truth * 0, said * 0), scored(truth, said * 0), scored(truth * 0, said)
        assert np.isnan(list(plain(evaluator.finish(evaluator.start())).values())).all()
    assert np.isnan(list(plain(nothing).values())).all() and to_json(nothing)["interval95"] == {}
    for found in (missed, invented):
        assert found.numbers["ap"] == (0, 0, 0) and np.isnan(found.numbers["segmentation_quality"].value)
    assert missed.tables["counted"][3] == 0 and invented.tables["counted"][2] == 0
    with pytest.raises(ValueError, match=r"image 0: the predicted map is \(13, 14\), the true one \(14, 14\)"):
        scored(truth, said[:, 1:])
    with pytest.raises(ValueError, match="image 0: the numbers of segments in a map must be 0 or above"):
        scored(truth, said.astype(int) - 1)
