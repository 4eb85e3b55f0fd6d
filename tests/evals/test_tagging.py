"""Scores of taggers against scikit-learn's, weighted resamples included, and against hand-counted ones."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cnn_jax.data.spec import INDEX
from cnn_jax.evals import bootstrap
from cnn_jax.evals.evaluator import plain, to_json
from cnn_jax.evals.tagging import d_prime, evaluator, ranked_scores

CLASSES = ("a", "b", "never", "always")
DRAW = np.random.default_rng(0)
LABELS = (DRAW.random((60, 4)) < (0.3, 0.1, 0, 1)).astype(np.uint8)
LOGITS = (DRAW.normal(size=(60, 4)).round(1) + LABELS).astype(np.float32)  # rounded: with ties


def scored(order: np.ndarray, size: int):
    judge = evaluator(CLASSES, labels="tags")
    totals = judge.start()
    for part in np.array_split(order, len(order) // size):
        batch = {"tags": LABELS[part], INDEX: part}
        added = judge.add(judge.start(), {"logits": LOGITS[part]}, batch)
        totals = judge.merge(added, totals)
    return judge.finish(totals)


def test_ranks_equal_scikit_learn_with_any_weights() -> None:
    weights = np.concatenate([np.ones((60, 1), np.uint8), bootstrap.weights(np.arange(60))[:, :3]], 1)
    for k in range(2):
        ap, auc = ranked_scores(LOGITS[:, k], LABELS[:, k] > 0, weights)
        for column in range(4):
            pair = dict(y_true=LABELS[:, k], y_score=LOGITS[:, k], sample_weight=weights[:, column].astype(float))
            assert ap[column] == pytest.approx(average_precision_score(**pair), abs=1e-12)
            assert auc[column] == pytest.approx(roc_auc_score(**pair), abs=1e-12)


def test_means_are_over_classes_that_have_examples_and_order_does_not_matter() -> None:
    scores, other = scored(np.arange(60), 60), scored(DRAW.permutation(60), 7)
    numbers = plain(scores)
    aps = [average_precision_score(LABELS[:, k], LOGITS[:, k]) for k in (0, 1, 3)]
    aucs = [roc_auc_score(LABELS[:, k], LOGITS[:, k]) for k in (0, 1)]
    assert numbers["map"] == pytest.approx(np.mean(aps)) and numbers["auc"] == pytest.approx(np.mean(aucs))
    assert numbers["d_prime"] == pytest.approx(d_prime(float(np.mean(aucs))))
    right, said = ((LOGITS > 0) & (LABELS > 0)).sum(), (LOGITS > 0).sum()
    assert numbers["f1"] == pytest.approx(2 * right / (said + LABELS.sum()))
    assert numbers["nll"] == pytest.approx(np.logaddexp(0, np.where(LABELS, -LOGITS, LOGITS)).mean(), rel=1e-6)
    assert np.isnan(scores.tables["ap"][2]) and np.isnan(scores.tables["auc"][2:]).all()
    assert scores.tables["positives"].tolist() == LABELS.sum(0).tolist()
    assert to_json(scores) == to_json(other)  # to the last bit
    for name in ("map", "auc", "d_prime", "f1"):
        score = scores.numbers[name]
        assert score.low < score.value < score.high


def test_the_surest_mistakes_come_first() -> None:
    mistakes = scored(np.arange(60), 60).tables["mistakes"]
    probability, index, label, applies = mistakes[0]
    wrong = np.where(LABELS, -LOGITS, LOGITS)
    assert wrong[int(index), int(label)] == wrong.max() and applies == LABELS[int(index), int(label)]
    assert probability == pytest.approx(1 / (1 + np.exp(-wrong.max())))
    assert (np.diff(mistakes[:, 0]) <= 0).all()


def test_d_prime_of_known_areas_and_what_is_refused() -> None:
    assert d_prime(0.5) == 0 and d_prime(0.973) == pytest.approx(2.725, abs=1e-3) and d_prime(1.0) < 6.8
    assert np.isnan(d_prime(float("nan")))
    judge = evaluator(CLASSES)
    batch = {"labels": LABELS[:2], INDEX: np.arange(2)}
    with pytest.raises(ValueError, match="1 of 2 rows of logits hold NaN or infinity"):
        judge.add(judge.start(), {"logits": np.where(np.arange(2)[:, None], LOGITS[:2], np.nan)}, batch)
    with pytest.raises(ValueError, match=r"the logits are \[2, 3\], the labels \[2, 4\]"):
        judge.add(judge.start(), {"logits": LOGITS[:2, :3]}, batch)
