"""The scores against scikit-learn, hand counts and closed forms."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from cnn_jax.evals import classification as evals


def example(count: int = 200, classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1.0
    return logits, labels


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits.astype(np.float64))
    return exp / exp.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_agrees_with_scikit_learn(classes: int) -> None:
    logits, labels = example(300, classes)
    probabilities, names = softmax(logits), range(classes)
    assert evals.top_k_accuracy(logits, labels) == metrics.accuracy_score(labels, logits.argmax(1))
    if classes > 5:
        expected = metrics.top_k_accuracy_score(labels, logits, k=5, labels=names)
        assert evals.top_k_accuracy(logits, labels, 5) == pytest.approx(expected, abs=1e-15)
    assert evals.nll(logits, labels) == pytest.approx(metrics.log_loss(labels, probabilities, labels=names), rel=1e-6)
    expected = metrics.brier_score_loss(labels, probabilities, labels=list(names), scale_by_half=False)
    assert evals.brier(logits, labels) == pytest.approx(expected, rel=1e-6)
    expected = metrics.confusion_matrix(labels, logits.argmax(1), labels=names)
    np.testing.assert_array_equal(evals.confusion_matrix(logits, labels), expected)
    recall, support = evals.per_class_accuracy(logits, labels)
    report = metrics.recall_score(labels, logits.argmax(1), labels=names, average=None, zero_division=np.nan)
    np.testing.assert_allclose(recall, report, rtol=1e-12)
    np.testing.assert_array_equal(support, np.bincount(labels, minlength=classes))


def test_hand_counted() -> None:
    logits = np.log([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.28, 0.62], [0.19, 0.19, 0.62]])
    labels = [0, 1, 2, 0]
    scores = evals.scores(logits, labels, ["a", "b", "c"])
    assert scores["top1"] == 0.5
    assert scores["top5"] == 1.0  # three classes: the true one is always among five
    assert scores["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.4) + math.log(0.62) + math.log(0.19)) / 4)
    assert scores["brier"] == pytest.approx((0.14 + 0.62 + 0.2328 + 1.0766) / 4)
    # Confidences 0.7 | 0.5 | 0.62 and 0.62 (one right of two): three bins.
    assert scores["ece"] == pytest.approx((0.3 + 0.5 + abs(1 - 1.24)) / 4)
    assert scores["per_class"] == {
        "a": {"accuracy": 0.5, "support": 2},
        "b": {"accuracy": 0.0, "support": 1},
        "c": {"accuracy": 1.0, "support": 1},
    }
    assert evals.confusion_matrix(logits, labels).tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 1]]


def test_ties_count_as_a_random_choice_among_the_tied() -> None:
    labels = np.arange(10)
    constant = np.zeros((10, 10), np.float32)
    assert evals.top_k_accuracy(constant, labels) == pytest.approx(0.1)
    assert evals.top_k_accuracy(constant, labels, 5) == pytest.approx(0.5)
    logits = np.array([[3.0, 2.0, 2.0, 2.0, 1.0]])  # classes 1, 2, 3 share places 2 to 4
    assert evals.top_k_accuracy(logits, [0], 1) == 1
    assert [evals.top_k_accuracy(logits, [2], k) for k in (1, 2, 3, 4)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [evals.top_k_accuracy(logits, [4], k) for k in (4, 5)] == [0, 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000))
def test_order_and_dtype_of_the_rows_do_not_change_a_bit(count: int, classes: int, seed: int) -> None:
    logits, labels = example(count, classes, seed)
    logits *= 8  # widely different terms, so that a naive sum would depend on the order
    names = [str(i) for i in range(classes)]
    order = np.random.default_rng(seed).permutation(count)
    expected = evals.scores(logits, labels, names)
    assert evals.scores(logits[order], labels[order], names) == expected
    assert evals.scores(np.asfortranarray(logits), labels.astype(np.int32), names) == expected
    recall = [entry["accuracy"] or 0.0 for entry in expected["per_class"].values()]
    assert expected["top1"] == pytest.approx(np.dot(recall, np.bincount(labels, minlength=classes)) / count)
    assert evals.confusion_matrix(logits, labels).sum() == count


def test_a_large_set_is_scored_in_pieces_without_a_seam() -> None:
    logits, labels = example(20_000, 3)
    whole = evals.per_example(logits, labels)
    parts = [evals.per_example(logits[i : i + 111], labels[i : i + 111]) for i in range(0, 20_000, 111)]
    for name in whole:
        np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in parts]))


def test_the_memory_layout_of_the_logits_does_not_change_a_bit() -> None:
    logits, labels = example(50, 100)
    rows, columns = evals.per_example(logits, labels), evals.per_example(np.asfortranarray(logits), labels)
    for name in rows:
        np.testing.assert_array_equal(rows[name], columns[name])


def test_a_calibrated_model_has_almost_no_ece_and_a_sharpened_one_does() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40_000, 4)) * 1.5
    probabilities = softmax(logits)
    labels = (rng.random((40_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert evals.ece(logits, labels) < 0.008
    # A constant 0.8 that is right 80 times in 100, and then one that says 0.95: the closed form is the gap.
    labels = np.repeat([0, 1], [80, 20])
    for confidence, gap in ((0.8, 0.0), (0.95, 0.15), (0.65, 0.15)):
        logits = np.log([[confidence, 1 - confidence]] * 100)
        assert evals.ece(logits, labels) == pytest.approx(gap, abs=1e-12)


def test_bins_are_closed_on_the_right() -> None:
    assert evals.bin_of(np.array([0.2, np.nextafter(0.2, 1), 1.0, 1e-9]), 5).tolist() == [0, 1, 4, 0]
    bins = evals.reliability([[0.0] * 5] * 3, [0, 1, 2])  # confidence 1/5 = 3/15 exactly
    assert np.flatnonzero(bins.support).tolist() == [2]
    assert bins.confidence[2] == pytest.approx(0.2)
    assert bins.accuracy[2] == pytest.approx(0.2)
    assert np.isnan(bins.accuracy[[0, 14]]).all()
    assert bins.edges[[0, 15]].tolist() == [0, 1]


def test_huge_logits_stay_finite_and_a_class_without_examples_has_no_accuracy() -> None:
    scores = evals.scores(np.array([[1e30, 0.0], [-1e30, 0.0]], np.float32), [0, 0], ["cat", "dog"])
    assert scores["nll"] == pytest.approx(5e29)
    assert scores["brier"] == 1.0
    assert scores["per_class"]["dog"] == {"accuracy": None, "support": 0}
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 2)), [0, 1], r"got \(3, 2\) and \(2,\)"),
        (np.zeros((0, 2)), np.zeros(0, int), "N, K > 0"),
        (np.zeros((2, 2)), [0, 2], r"0\.\.1, got 0\.\.2"),
        (np.zeros((2, 2)), [-1, 0], "got -1"),
        (np.zeros((2, 2)), [0.0, 1.0], "integers"),
        ([[0.0, np.nan], [0.0, 1.0]], [0, 1], "1 of 2 rows"),
        ([[0.0, np.inf], [0.0, -np.inf]], [0, 1], "2 of 2 rows"),
    ],
)
def test_malformed_inputs_are_refused_in_one_line(logits: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        evals.scores(logits, labels, ["a", "b"])
    assert "\n" not in str(caught.value)


def test_class_names_must_fit() -> None:
    for names in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="2 distinct class names"):
            evals.scores(np.zeros((1, 2)), [0], names)
    with pytest.raises(ValueError, match="k >= 1"):
        evals.top_k_accuracy(np.zeros((1, 2)), [0], 0)
