"""The evaluator of segmenters against plain definitions, and what must not change its scores."""

import json
import random
import warnings

import numpy as np
import pytest
from hotcoco.semantic import SemanticEval

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import IGNORED, INDEX, Field, Spec
from cnn_jax.evals import boundary, extremes, segmentation
from cnn_jax.evals.evaluator import Scores, plain, to_json
from tests.evals import map_definitions as by_hand
from tests.evals.test_detection import assert_same

NAMES = ("background", "a", "b", "never true", "never there")
K, SIDE = len(NAMES), 12


def spec(classes: tuple[str, ...] = NAMES) -> Spec:
    return Spec(
        name="drawn", classes=classes, inputs={"image": Field("image", (SIDE, SIDE, 3), "uint8")},
        targets={"kind": Field("class_map", (SIDE, SIDE), "uint8")}, prepare=ImagePrepare(), licence="", citation="",
        fingerprint="",
    )  # fmt: skip


def drawn(seed: int, images: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted maps of rectangles: image 0 without objects, image 1 without a pixel that counts."""
    rng = np.random.default_rng(seed)
    truth, said = (np.zeros((images, SIDE, SIDE), np.uint8) for _ in range(2))
    for row in range(1, images):
        for _ in range(rng.integers(1, 4)):
            (y, x), (tall, wide), label = rng.integers(0, SIDE - 3, 2), rng.integers(2, 8, 2), rng.integers(1, 3)
            truth[row, y : y + tall, x : x + wide] = label
            y, x = np.maximum((y, x) + rng.integers(-1, 2, 2), 0)
            said[row, y : y + tall, x : x + wide] = label if rng.random() < 0.8 else 3
    truth[rng.random(truth.shape) < 0.05] = IGNORED
    truth[1] = IGNORED
    return truth, said


def scored(truth: np.ndarray, said: np.ndarray, pieces: int = 1, order: np.ndarray | None = None, **how) -> Scores:
    evaluator = segmentation.evaluator(spec(), **how)
    totals = evaluator.start()
    for rows in np.array_split(np.arange(len(truth)) if order is None else order, pieces):
        totals = evaluator.add(totals, {"class_map": said[rows]}, {"kind": truth[rows], INDEX: rows})
    return evaluator.finish(totals)


def test_every_score_is_that_of_its_definition() -> None:
    for seed in range(3):
        truth, said = drawn(seed)
        found, tables = plain(scored(truth, said, 2)), scored(truth, said).tables
        iou, dice = by_hand.by_set(truth, said, K)
        image_iou, image_dice = by_hand.by_image(truth, said, K)
        expected = {
            "iou": iou, "dice": dice, "accuracy": by_hand.accuracy(truth, said, K), "image_iou": image_iou,
            "image_dice": image_dice, "boundary_f": by_hand.boundary(truth, said, K, 1.0),
        }  # fmt: skip
        assert iou[3] == 0 and np.isnan(iou[4])
        for name, values in expected.items():
            np.testing.assert_allclose(tables[name], values, rtol=0, atol=1e-9, err_msg=name)
        pairs = by_hand.pixels(truth, said)
        numbers = {
            "mean_iou": iou, "mean_dice": dice, "foreground_iou": by_hand.overlap(pairs, [1, 2, 3, 4])[0],
            "image_iou": image_iou, "image_dice": image_dice, "pixel_accuracy": np.mean([t == s for t, s in pairs]),
            "mean_accuracy": expected["accuracy"], "boundary_f": expected["boundary_f"],
        }  # fmt: skip
        assert list(found) == list(numbers)
        for name, value in numbers.items():
            assert found[name] == pytest.approx(np.nanmean(value), abs=1e-9), name
        confusion = np.zeros((K, K), int)
        np.add.at(confusion, tuple(np.array(pairs).T), 1)
        np.testing.assert_array_equal(tables["confusion"], confusion)
        np.testing.assert_array_equal(tables["pixels"], confusion.sum(1))
        assert tables["counted"].tolist() == [9, 1, (truth != IGNORED).sum(), (truth == IGNORED).sum()]
        assert tables["images"].tolist() == [int((truth == k).any((1, 2)).sum()) for k in range(K)]


def test_scores_by_set_are_those_of_mmsegmentation() -> None:
    """By hotcoco, whose figures are its."""
    truth, said = drawn(11, images=20)
    oracle = SemanticEval(list(NAMES))
    oracle.update(truth, said)
    found, expected = scored(truth, said), oracle.results()
    names = {"mean_iou": "mIoU", "mean_accuracy": "mAcc", "pixel_accuracy": "aAcc"}
    assert {name: found.numbers[name].value for name in names} == pytest.approx(
        {name: expected[theirs] for name, theirs in names.items()}
    )
    np.testing.assert_array_equal(found.tables["confusion"], oracle.confusion())


def test_by_set_and_by_image_by_hand() -> None:
    """A large object that is half found, a small one that is found: 1/2 and 1 by image, 5/9 by set."""
    truth, said = np.zeros((2, 2, 8, 8), np.uint8)
    truth[0, :2, :4], said[0, :2, :2] = 1, 1
    truth[1, 0, 0] = said[1, 0, 0] = 1
    found = scored(truth, said)
    assert found.tables["iou"][1] == 5 / 9 and found.tables["dice"][1] == 10 / 14
    assert found.tables["image_iou"][1] == 0.75 and found.numbers["foreground_iou"].value == 5 / 9
    assert found.numbers["mean_iou"].value == pytest.approx((5 / 9 + (128 - 9) / (128 - 5)) / 2)
    assert found.tables["image_dice"][1] == pytest.approx((2 / 3 + 1) / 2, abs=1e-9)
    assert found.numbers["pixel_accuracy"].value == 124 / 128


@pytest.mark.parametrize("reach", [1.0, 2.0, 0.2])
def test_the_reach_of_outlines(reach: float) -> None:
    truth, said = drawn(7)
    pixels = reach if reach >= 1 else reach * np.hypot(SIDE, SIDE)
    expected = by_hand.boundary(truth, said, K, pixels)
    np.testing.assert_allclose(scored(truth, said, tolerance=reach).tables["boundary_f"], expected, rtol=0, atol=1e-9)


def test_outlines_by_hand() -> None:
    """A square moved by three pixels: 6 of the 12 pixels of each of its outlines are within one of the other's."""
    truth, said = np.zeros((2, 12, 12), np.uint8)
    truth[4:8, 2:6], said[4:8, 5:9] = 1, 1
    # Of the true outline, at columns 2 to 5: the right side and the next pixels of the upper and the lower one.
    assert boundary.boundary_f(truth, said, 2)[1] == pytest.approx(4 / 12 + 2 / 12)
    assert boundary.boundary_f(truth, said, 2, tolerance=3)[1] == 1
    assert np.isnan(boundary.boundary_f(truth * 0, said * 0, 2)).all()  # the border of an image is no outline
    assert boundary.boundary_f(truth, said * 0, 2).tolist() == [0, 0]
    with pytest.raises(ValueError, match="tolerance must be"):
        segmentation.evaluator(spec(), tolerance=0)


def test_any_order_batch_size_and_process_gives_the_same_bits() -> None:
    truth, said = drawn(3, images=30)
    said[7] = said[8] = truth[7] = truth[8] = truth[9]  # equally good ones
    whole = scored(truth, said)
    order = np.random.default_rng(0).permutation(30)
    for pieces in (1, 7, 30):
        assert_same(whole, scored(truth, said, pieces, order))
    evaluator = segmentation.evaluator(spec())
    batches = [np.arange(30)[k::5] for k in range(5)]
    parts = [
        evaluator.add(evaluator.start(), {"class_map": said[rows]}, {"kind": truth[rows], INDEX: rows})
        for rows in batches
    ]
    random.Random(0).shuffle(parts)
    merged = evaluator.start()
    for part in parts:
        merged = evaluator.merge(part, merged)
    assert_same(whole, evaluator.finish(merged))


def test_what_is_predicted_where_nothing_counts_changes_nothing_but_its_picture() -> None:
    truth, said = drawn(4)
    other = np.where(truth == IGNORED, (said + 1) % K, said).astype(np.uint8)
    one, two = scored(truth, said), scored(truth, other)
    assert one.numbers == two.numbers
    assert all(
        np.array_equal(one.tables[name], two.tables[name], equal_nan=True) for name in one.tables if "_maps" not in name
    )


def test_intervals_hold_the_score_and_shrink_with_the_set() -> None:
    widths = []
    for images in (20, 320):
        found = scored(*drawn(8, images=images))
        assert all(0 <= score.low <= score.value <= score.high <= 1 for score in found.numbers.values())
        widths.append(np.mean([score.high - score.low for score in found.numbers.values()]))
        low, middle, high = (found.tables[name] for name in ("iou_low", "iou", "iou_high"))
        assert ((low <= middle) & (middle <= high) | np.isnan(middle)).all() and np.isnan(low[4])
    assert 0.15 < widths[1] / widths[0] < 0.4  # a quarter for 16 times as many


def test_an_image_that_counts_twice_is_there_twice() -> None:
    """The resamples are sets like the one that is scored."""
    truth, said = drawn(5, images=6)
    evaluator = segmentation.evaluator(spec())
    totals = evaluator.add(evaluator.start(), {"class_map": said}, {"kind": truth, INDEX: np.arange(6)})
    weights = segmentation.sums.bootstrap.weights(np.arange(6))[:, 2]
    drawn_rows = np.repeat(np.arange(6), weights)
    again = evaluator.add(
        evaluator.start(), {"class_map": said[drawn_rows]}, {"kind": truth[drawn_rows], INDEX: drawn_rows}
    )
    np.testing.assert_array_equal(totals.sums[3], again.sums[0])


def test_the_best_and_the_worst_images_are_kept_with_their_maps() -> None:
    truth, said = drawn(6, images=20)
    tables = scored(truth, said, 5).tables
    expected = [
        np.nanmean(by_hand.by_set(truth[[row]], said[[row]], K)[0]) if row != 1 else np.nan for row in range(20)
    ]
    scores = tables["image_scores"]
    assert scores[:, 0].tolist() == [0, *range(2, 20)]
    np.testing.assert_allclose(scores[:, 1], np.delete(expected, 1), rtol=1e-12)
    worst, best = tables["worst"], tables["best"]
    assert len(worst) == len(best) == extremes.SHOWN and 0 not in best[:1, 0]  # the image without objects is no feat
    assert worst[:, 1].tolist() == sorted(scores[:, 1])[: extremes.SHOWN]
    assert best[:, 1].tolist() == sorted(scores[:, 1], reverse=True)[: extremes.SHOWN]
    for name, rows in (("best", best), ("worst", worst)):
        np.testing.assert_array_equal(tables[f"{name}_maps"], said[rows[:, 0].astype(int)])


def test_totals_do_not_grow_with_the_set_but_by_a_score_for_each_image() -> None:
    sizes = []
    for images in (10, 40):
        truth, said = drawn(1, images)
        evaluator = segmentation.evaluator(spec())
        totals = evaluator.start()
        for rows in np.array_split(np.arange(images), 2):
            totals = evaluator.add(totals, {"class_map": said[rows]}, {"kind": truth[rows], INDEX: rows})
        kept = [image.said for image in (*totals.shown.best, *totals.shown.worst)]
        assert all(each.base is None for each in kept)  # no rows of a batch, which would keep it in memory
        sizes.append(sum(a.nbytes for a in (totals.sums, totals.confusion, totals.images, *kept)))
        assert totals.shown.scores.shape == (images, 2)
    assert sizes[0] == sizes[1]


def test_images_of_several_sizes() -> None:
    evaluator = segmentation.evaluator(spec())
    totals = evaluator.start()
    for place, size in enumerate(((4, 9), (6, 5))):
        truth = np.ones((1, *size), np.uint8)
        totals = evaluator.add(totals, {"class_map": truth}, {"kind": truth, INDEX: np.array([place])})
    found = evaluator.finish(totals)
    assert found.numbers["mean_iou"] == (1, 1, 1) and found.tables["best_maps"].shape == (2, 6, 9)
    assert (found.tables["best_maps"][0, :4] == 1).all() and (found.tables["best_maps"][0, 4:] == IGNORED).all()


def test_where_something_is_missing() -> None:
    truth, said = drawn(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scored(truth * 0, said * 0)
    written = json.loads(json.dumps(to_json(found)))
    assert written["mean_iou"] == 1 and written["foreground_iou"] is None and written["boundary_f"] is None
    assert "foreground_iou" not in written["interval95"]
    evaluator = segmentation.evaluator(spec(("sky", "earth")))  # without background all is foreground
    sky = np.zeros((1, 3, 3), np.uint8)
    numbers = evaluator.finish(
        evaluator.add(evaluator.start(), {"class_map": sky}, {"kind": sky, INDEX: np.arange(1)})
    ).numbers
    assert "foreground_iou" not in numbers and numbers["mean_iou"].value == 1
    with pytest.raises(ValueError, match="not one pixel whose class is known"):
        scored(np.full_like(truth, IGNORED), said)


def test_what_fits_no_class_is_named() -> None:
    truth, said = drawn(2)
    said[3, 0, 0], truth[3, 0, 0] = 5, 0
    with pytest.raises(ValueError, match="the predicted map of image 3 has class 5, the data has 5 classes"):
        scored(truth, said)
    with pytest.raises(ValueError, match=r"image 0 is \(11, 12\), the true one \(12, 12\)"):
        scored(truth, said[:, 1:])
