"""The evaluator of classifiers against scikit-learn, plain definitions, hand counts and closed forms."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from cnn_jax.data.spec import INDEX
from cnn_jax.evals import classification as evals
from cnn_jax.evals.evaluator import Scores, plain, to_json
from tests.evals import definitions


def example(count: int = 200, classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1.0
    return logits, labels


def names(classes: int) -> list[str]:
    return [str(k) for k in range(classes)]


def scored(logits: np.ndarray, labels: np.ndarray, batch_size: int = 1000) -> Scores:
    logits, labels = np.asarray(logits), np.asarray(labels)
    evaluator = evals.evaluator(names(logits.shape[1]))
    totals = evaluator.start()
    for rows in np.array_split(np.arange(len(labels)), -(-len(labels) // batch_size)):
        totals = evaluator.add(totals, {"logits": logits[rows]}, {"label": labels[rows], INDEX: rows})
    return evaluator.finish(totals)


def assert_same(a: Scores, b: Scores) -> None:
    """Bit for bit."""
    assert a.numbers == b.numbers and a.tables.keys() == b.tables.keys()
    for name, table in a.tables.items():
        np.testing.assert_array_equal(table, b.tables[name], err_msg=name)


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_agrees_with_scikit_learn(classes: int) -> None:
    logits, labels = example(300, classes)
    probabilities, known = definitions.probabilities(logits), range(classes)
    numbers, tables = plain(scored(logits, labels)), scored(logits, labels).tables
    assert numbers["top1"] == metrics.accuracy_score(labels, logits.argmax(1))
    if classes > 5:
        expected = metrics.top_k_accuracy_score(labels, logits, k=5, labels=known)
        assert numbers["top5"] == pytest.approx(expected, abs=1e-15)
    assert numbers["nll"] == pytest.approx(metrics.log_loss(labels, probabilities, labels=known), rel=1e-6)
    expected = metrics.brier_score_loss(labels, probabilities, labels=list(known), scale_by_half=False)
    assert numbers["brier"] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(tables["confusion"], metrics.confusion_matrix(labels, logits.argmax(1), labels=known))
    report = metrics.recall_score(labels, logits.argmax(1), labels=known, average=None, zero_division=np.nan)
    np.testing.assert_allclose(tables["recall"], report, rtol=1e-9)
    np.testing.assert_array_equal(tables["support"], np.bincount(labels, minlength=classes))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000), st.booleans())
def test_agrees_with_the_plain_definitions(count: int, classes: int, seed: int, ties: bool) -> None:
    logits, labels = example(count, classes, seed)
    logits = np.round(logits) if ties else logits
    found = scored(logits, labels)
    assert plain(found) == pytest.approx(definitions.scores(logits, labels), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(found.tables["reliability"], definitions.reliability(logits, labels), rtol=1e-9)
    np.testing.assert_allclose(found.tables["recall"], definitions.recall(logits, labels), atol=1e-9)
    np.testing.assert_array_equal(found.tables["confusion"], definitions.confusion(logits, labels))
    # The mean of the recalls, each as often as its class, is the accuracy.
    weighted = np.nansum(found.tables["recall"] * found.tables["support"]) / count
    assert found.numbers["top1"].value == pytest.approx(weighted, abs=1e-9)


def test_hand_counted() -> None:
    logits = np.log([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.28, 0.62], [0.19, 0.19, 0.62]])
    found = scored(logits, [0, 1, 2, 0])
    numbers = plain(found)
    assert numbers["top1"] == 0.5
    assert numbers["top5"] == 1.0  # three classes: the true one is always among five
    assert numbers["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.4) + math.log(0.62) + math.log(0.19)) / 4)
    assert numbers["brier"] == pytest.approx((0.14 + 0.62 + 0.2328 + 1.0766) / 4)
    # Confidences 0.7 | 0.5 | 0.62 and 0.62 (one right of two): three bins.
    assert numbers["ece"] == pytest.approx((0.3 + 0.5 + abs(1 - 1.24)) / 4)
    assert found.tables["recall"].tolist() == [0.5, 0.0, 1.0]
    assert found.tables["support"].tolist() == [2, 1, 1]
    assert found.tables["confusion"].tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(found.tables["mistakes"], [[0.62, 3, 0, 2], [0.5, 1, 1, 0]])


def test_ties_count_as_a_random_choice_among_the_tied() -> None:
    numbers = plain(scored(np.zeros((10, 10), np.float32), np.arange(10)))
    assert (numbers["top1"], numbers["top5"]) == (pytest.approx(0.1), pytest.approx(0.5))
    row = np.array([[6.0, 5, 5, 4, 3, 3, 3, 0]])  # two share places 2 and 3, three places 5 to 7
    credits = [(plain(scored(row, [k]))["top1"], plain(scored(row, [k]))["top5"]) for k in range(8)]
    assert credits == [(1, 1), (0, 1), (0, 1), (0, 1), *[(0, pytest.approx(1 / 3))] * 3, (0, 0)]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.randoms(use_true_random=False))
def test_order_batches_and_processes_do_not_change_a_bit(count: int, classes: int, processes: int, random) -> None:
    logits, labels = example(count, classes, count)
    logits *= 8  # widely different terms, so that a naive sum would depend on the order
    logits[::3] = np.round(logits[::3])  # some ties
    logits[1::2] = logits[0]  # many mistakes of one confidence
    labels[::5] = -1
    labels[-1] = 0
    evaluator = evals.evaluator(names(classes))
    parts = [evaluator.start() for _ in range(processes)]
    order = random.sample(range(count), count)
    while order:
        cut = random.randint(1, len(order))
        rows, order = order[:cut], order[cut:]
        which = random.randrange(processes)
        batch = {"label": labels[rows].astype(random.choice(["int32", "int64"])), INDEX: np.array(rows)}
        parts[which] = evaluator.add(parts[which], {"logits": logits[rows]}, batch)
    merged = evaluator.start()
    for part in random.sample(parts, processes):
        merged = evaluator.merge(merged, part) if random.random() < 0.5 else evaluator.merge(part, merged)
    expected = evaluator.add(
        evaluator.start(), {"logits": np.asfortranarray(logits)}, {"label": labels, INDEX: np.arange(count)}
    )
    assert_same(evaluator.finish(merged), evaluator.finish(expected))


def test_a_label_of_minus_one_does_not_count() -> None:
    logits, labels = example(60)
    known = np.arange(60) % 3 > 0
    evaluator = evals.evaluator(names(7))
    some = {"label": np.where(known, labels, -1), INDEX: np.arange(60)}
    only = {"label": labels[known], INDEX: np.flatnonzero(known)}
    found = evaluator.finish(evaluator.add(evaluator.start(), {"logits": logits}, some))
    assert_same(found, evaluator.finish(evaluator.add(evaluator.start(), {"logits": logits[known]}, only)))
    assert found.tables["support"].sum() == 40
    none = evaluator.add(evaluator.start(), {"logits": logits}, {"label": np.full(60, -1), INDEX: np.arange(60)})
    with pytest.raises(ValueError, match="not one example whose class is known"):
        evaluator.finish(none)


def size_of(totals: evals.Totals) -> int:
    return sum(part.nbytes for part in totals)


def test_totals_do_not_grow_with_the_set() -> None:
    evaluator, sizes = evals.evaluator(names(5)), []
    totals = evaluator.start()
    for start in range(0, 6000, 1000):
        logits, labels = example(1000, 5, start)
        batch = {"label": labels, INDEX: np.arange(start, start + 1000)}
        totals = evaluator.add(totals, {"logits": logits}, batch)
        sizes.append(size_of(totals))
    assert len(set(sizes)) == 1 and sizes[0] < 2**21
    assert totals.worst.shape == (evals.WORST, 4) and totals.support.sum() == 6000


def test_the_most_confident_mistakes_are_kept() -> None:
    logits, labels = example(500, 4)
    found = scored(logits, labels, 70).tables["mistakes"]
    confidence, said = definitions.probabilities(logits).max(axis=1), logits.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    expected = wrong[np.argsort(-confidence[wrong], kind="stable")][: evals.WORST]
    np.testing.assert_allclose(found, np.column_stack([confidence, np.arange(500), labels, said])[expected], rtol=1e-12)


def test_of_many_classes_only_the_pairs_that_occur_are_kept() -> None:
    classes = evals.DENSE + 1
    logits, labels = example(30, classes)
    labels[:10] = 3
    logits[:10] = 0
    logits[:10, 5] = 1
    found = scored(logits, labels, 8).tables
    assert "confusion" not in found
    pairs = sorted(zip(labels.tolist(), logits.argmax(1).tolist(), strict=True))
    assert found["confusions"].tolist() == [[*pair, pairs.count(pair)] for pair in sorted(set(pairs))]
    assert [3, 5, 10] in found["confusions"].tolist()


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


def test_a_calibrated_model_has_almost_no_ece_and_a_sharpened_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evals.bootstrap, "RESAMPLES", 4)  # its intervals are not looked at
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40_000, 4)) * 1.5
    probabilities = definitions.probabilities(logits)
    labels = (rng.random((40_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert plain(scored(logits, labels, 5000))["ece"] < 0.008
    # A constant 0.8 that is right 80 times in 100, and then one that says 0.95: the closed form is the gap.
    labels = np.repeat([0, 1], [80, 20])
    for confidence, gap in ((0.8, 0.0), (0.95, 0.15), (0.65, 0.15)):
        logits = np.log([[confidence, 1 - confidence]] * 100)
        assert plain(scored(logits, labels))["ece"] == pytest.approx(gap, abs=1e-12)


def test_bins_are_closed_on_the_right() -> None:
    assert evals.bin_of(np.array([0.2, np.nextafter(0.2, 1), 1.0, 1e-9]), 5).tolist() == [0, 1, 4, 0]
    support, accuracy, confidence = scored([[0.0] * 5] * 3, [0, 1, 2]).tables["reliability"]  # 1/5 = 3/15 exactly
    assert support.shape == (evals.BINS,) and np.flatnonzero(support).tolist() == [2]
    assert (accuracy[2], confidence[2]) == (pytest.approx(0.2), pytest.approx(0.2))
    assert np.isnan(accuracy[[0, 14]]).all()


def test_huge_logits_stay_finite_and_a_class_without_examples_has_no_accuracy() -> None:
    found = scored(np.array([[1e30, 0.0], [-1e30, 0.0]], np.float32), [0, 0])
    numbers = plain(found)
    assert (numbers["nll"], numbers["brier"]) == (pytest.approx(5e29), 1.0)
    assert np.isnan(found.tables["recall"][1]) and found.tables["support"][1] == 0
    assert all(math.isfinite(bound) for score in found.numbers.values() for bound in score)
    assert json.loads(json.dumps(to_json(found), allow_nan=False)) == to_json(found)


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
        evals.per_example(logits, labels)
    assert "\n" not in str(caught.value)


def test_class_names_must_fit() -> None:
    with pytest.raises(ValueError, match="the 2 classes need distinct names"):
        evals.evaluator(["a", "a"])
    for classes in (["a"], ["a", "b", "c"]):
        evaluator = evals.evaluator(classes)
        with pytest.raises(ValueError, match=f"of 2 classes, the data has {len(classes)}"):
            evaluator.add(evaluator.start(), {"logits": np.eye(2)}, {"label": np.array([0, 0]), INDEX: np.arange(2)})


def test_the_names_of_output_and_target_are_a_choice() -> None:
    logits, labels = example(20, 3)
    evaluator = evals.evaluator(names(3), logits="said", label="kind")
    totals = evaluator.add(evaluator.start(), {"said": logits}, {"kind": labels, INDEX: np.arange(20)})
    assert_same(evaluator.finish(totals), scored(logits, labels))
