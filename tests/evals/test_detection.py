"""The evaluator of detectors against pycocotools, and what must not change its scores."""

import json
import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data.placement import Placement, as_vector, to_example
from cnn_jax.data.spec import INDEX
from cnn_jax.evals import detection
from cnn_jax.evals.evaluator import Scores, plain, to_json
from cnn_jax.evals.found import reader
from tests.evals import detection_sets as sets

CLASSES = 5


def scored(outputs: sets.Rows, batch: sets.Rows, pieces: int = 1, **options: object) -> Scores:
    evaluator = detection.evaluator(sets.spec(batch["what"].shape[1], CLASSES), **options)
    totals = evaluator.start()
    for rows in np.array_split(np.arange(len(batch[INDEX])), pieces):
        piece, said = ({name: array[rows] for name, array in some.items()} for some in (batch, outputs))
        totals = evaluator.add(totals, said, piece)
    return evaluator.finish(totals)


def assert_same(a: Scores, b: Scores) -> None:
    """Bit for bit."""
    for name in a.numbers:
        np.testing.assert_array_equal(np.array(a.numbers[name], float), np.array(b.numbers[name], float), err_msg=name)
    for name, table in a.tables.items():
        np.testing.assert_array_equal(table, b.tables[name], err_msg=name)
    assert a.numbers.keys() == b.numbers.keys() and a.tables.keys() == b.tables.keys()


def assert_as_pycocotools(outputs: sets.Rows, batch: sets.Rows, sizes: tuple[float, float] = (32, 96)) -> Scores:
    expected, oracle = sets.of_pycocotools(outputs, batch, CLASSES, sizes)
    found = scored(outputs, batch, sizes=sizes)
    for name, value in expected.items():
        assert np.array_equal(found.numbers[name].value, value, equal_nan=True), name
    precision = np.where(oracle.eval["precision"] < 0, np.nan, oracle.eval["precision"])
    np.testing.assert_array_equal(found.tables["precision"], precision[..., 0, 2])
    np.testing.assert_allclose(found.tables["average_precision"], precision[..., 2].mean((0, 1)), rtol=1e-12)
    return found


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_the_twelve_figures_are_pycocotools_to_the_last_bit(seed: int) -> None:
    assert_as_pycocotools(*sets.drawn(seed))


def test_more_than_a_hundred_detections_and_every_range() -> None:
    outputs, batch = sets.drawn(1, images=3, objects=30, found=400, ignored=0.1)
    outputs["labels"][0], batch["what"][0] = 1, 1
    outputs["scores"] = -np.sort(-np.random.default_rng(0).random((3, 400)).astype(np.float32), axis=1)
    found = assert_as_pycocotools(outputs, batch)
    assert np.isfinite(list(plain(found).values())).all()
    objects = found.tables["objects"]
    assert (objects[:, 1:].sum(1) > objects[:, 0])[1]  # an area on a bound is of both ranges


def test_sizes_are_a_setting() -> None:
    outputs, batch = sets.drawn(2)
    found = assert_as_pycocotools(outputs, batch, sizes=(10, 33))
    assert found.tables["sizes"].tolist() == [10, 33]
    assert plain(found)["ap_small"] != plain(scored(outputs, batch))["ap_small"]
    with pytest.raises(ValueError, match="sizes must be two sides"):
        detection.evaluator(sets.spec(3, CLASSES), sizes=(96, 32))


def nothing(outputs: sets.Rows, batch: sets.Rows, what: str) -> None:
    if what in ("no detections", "nothing at all"):
        outputs["labels"][:] = -1
    if what in ("no objects", "nothing at all"):
        batch["what"][:] = -1
    if what == "all ignored":
        batch["skip"][:] = 1 + np.arange(batch["skip"].shape[1]) % 2
    if what == "padding is rubbish":
        outputs["boxes"][outputs["labels"] < 0] = np.nan
        batch["where"][batch["what"] < 0] = np.nan


def test_intervals_hold_the_score_and_shrink_with_the_set() -> None:
    widths = []
    for images in (20, 320):
        found = scored(*sets.drawn(8, images=images))
        known = [score for score in found.numbers.values() if score.low is not None]
        assert len(known) == 12 and all(0 <= score.low <= score.value <= score.high <= 1 for score in known)
        widths.append(np.mean([score.high - score.low for score in known]))
        low, high = (found.tables[f"average_precision_{end}"] for end in ("low", "high"))
        middle = found.tables["average_precision"]
        assert ((low <= middle) & (middle <= high) | np.isnan(middle)).all() and np.nanmax(high - low) > 0
    assert 0.15 < widths[1] / widths[0] < 0.4  # a quarter for 16 times as many
    # Even where no resample is as low as the set.
    low, high = detection._interval(0.5, np.append(np.linspace(0.6, 0.8, 101), np.nan))
    assert (low, high) == pytest.approx((0.405, 0.595)) and detection._interval(0.5, np.full(3, np.nan)) == (None, None)


@pytest.mark.parametrize("what", ["no detections", "no objects", "nothing at all", "all ignored", "padding is rubbish"])
def test_where_something_is_missing(what: str) -> None:
    outputs, batch = sets.drawn(3)
    nothing(outputs, batch, what)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scored(outputs, batch) if what == "no detections" else assert_as_pycocotools(outputs, batch)
    written = json.loads(json.dumps(to_json(found)))
    if what == "no detections":
        assert found.numbers["ap"] == (0, 0, 0) and found.tables["confusion"][:, :-1].sum() == 0
        assert found.numbers["tide_miss"].value == 0 and found.tables["tide_counts"][-1] > 0
    elif what != "padding is rubbish":
        assert written["ap"] is None and written["tide_cls"] is None and "ap" not in written["interval95"]


def test_of_no_images_at_all() -> None:
    evaluator = detection.evaluator(sets.spec(3, CLASSES))
    assert np.isnan(list(plain(evaluator.finish(evaluator.start())).values())).all()


def test_any_order_batch_size_and_process_gives_the_same_bits() -> None:
    outputs, batch = sets.drawn(4, images=40)
    whole = scored(outputs, batch)
    order = np.random.default_rng(0).permutation(40)
    mixed, said = ({name: array[order] for name, array in some.items()} for some in (batch, outputs))
    for pieces in (1, 7, 40):
        assert_same(whole, scored(said, mixed, pieces))
    evaluator = detection.evaluator(sets.spec(9, CLASSES))
    parts = [
        evaluator.add(
            evaluator.start(), {n: a[k::5] for n, a in outputs.items()}, {n: a[k::5] for n, a in batch.items()}
        )
        for k in range(5)
    ]
    random.Random(0).shuffle(parts)
    merged = evaluator.start()
    for part in parts:
        merged = evaluator.merge(part, merged)
    assert_same(whole, evaluator.finish(merged))


def test_fields_are_found_by_their_roles_and_may_be_missing() -> None:
    outputs, batch = sets.drawn(5, ignored=0)
    batch["area"] = (batch["where"][..., 2:] - batch["where"][..., :2]).prod(-1)
    evaluator = detection.evaluator(sets.spec(9, CLASSES, ignored=False, areas=False))
    few = {name: batch[name] for name in ("where", "what", INDEX)}
    assert_same(scored(outputs, batch), evaluator.finish(evaluator.add(evaluator.start(), outputs, few)))


def test_boxes_are_scored_in_pixels_of_the_original_picture() -> None:
    """A letterboxed picture, enlarged twice: halving is exact, so are the scores."""
    outputs, batch = sets.drawn(6)
    whole = scored(outputs, batch)
    lies = as_vector(Placement((sets.SIZE, sets.SIZE), (900, 900), (2.0, 2.0), (16.0, 64.0)))
    shift = np.array([64, 16, 64, 16], np.float32)
    inside = {**outputs, "boxes": np.clip(outputs["boxes"], 0, sets.SIZE)}
    placed = {**batch, "where": batch["where"] * 2 + shift, "lies": np.tile(lies, (len(batch["what"]), 1))}
    evaluator = detection.evaluator(sets.spec(9, CLASSES, placement=True))
    found = evaluator.finish(evaluator.add(evaluator.start(), {**inside, "boxes": inside["boxes"] * 2 + shift}, placed))
    assert_same(scored(inside, batch), found)
    assert found.numbers["ap"].value > 0 and whole.numbers["ap"].value > 0


def test_boxes_of_a_picture_come_back_from_any_example() -> None:
    """Annotated in whole pixels, most are whole again: rounding takes off what the way there and back has added."""
    placement = Placement((480, 640), (300, 300), (0.46875, 0.47), (37.3, 0.1))
    whole = np.random.default_rng(0).integers(0, 400, (50, 9, 4)).astype(float)
    whole[..., 2:] = np.minimum(whole[..., :2] + 1 + whole[..., 2:], [640, 480])
    _, batch = sets.drawn(6, images=50)
    batch |= {"where": to_example(whole, placement).astype(np.float32), "lies": np.tile(as_vector(placement), (50, 1))}
    nothing = {"boxes": np.zeros((50, 1, 4)), "scores": np.zeros((50, 1)), "labels": np.full((50, 1), -1)}
    images = reader(sets.spec(9, CLASSES, placement=True))(nothing, batch)
    assert all(image.size == (480, 640) for image in images)
    for image, boxes, labels in zip(images, whole, batch["what"], strict=True):
        np.testing.assert_allclose(image.true_boxes, boxes[labels >= 0], atol=5e-5)
    back = np.concatenate([image.true_boxes for image in images])
    assert (back == whole[batch["what"] >= 0]).mean() > 0.5


def test_tables_name_images_by_their_places_in_the_split() -> None:
    outputs, batch = sets.drawn(4)
    at, later = (scored(outputs, {**batch, INDEX: batch[INDEX] + first}).tables for first in (0, 1000))
    for name, column in (("errors", 1), ("best", 0), ("shown", 0)):
        assert len(at[name]) and (later[name][:, column] == at[name][:, column] + 1000).all()


def test_a_diverged_model_is_named() -> None:
    outputs, batch = sets.drawn(7)
    outputs["scores"][2, 0], outputs["labels"][2, 0] = np.nan, 1
    with pytest.raises(ValueError, match="image 2 is NaN or infinite: did training diverge"):
        scored(outputs, batch)
