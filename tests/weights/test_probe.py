"""The linear probe: a logistic regression by scikit-learn, scaled, its penalty chosen on what it has not seen."""

import numpy as np
import pytest

from cnn_jax.weights.probe import FOLDS, PENALTIES, Examples, _folds, _scores, _solved, _solver, fit

ONES = np.ones(3)


def clouds(seed: int, counts: tuple[int, ...] = (40, 40, 40), features: int = 6) -> Examples:
    """Classes as clouds around (4, 0, 0, ...), (0, 4, 0, ...), ..., far from 0 and on a scale of their own."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    inputs = draw.normal(size=(len(labels), features)) + 4 * np.eye(features)[labels]
    return Examples((100 + 0.01 * inputs).astype(np.float32), labels)


def logits(layer: tuple[np.ndarray, np.ndarray], examples: Examples) -> np.ndarray:
    return examples.inputs.astype(np.float64) @ layer[0] + layer[1]


def gradient(examples: Examples, layer: tuple[np.ndarray, np.ndarray], penalty: float, weights: np.ndarray):
    """Of the sum of the weighted cross-entropies and half the penalty x |kernel|^2, for inputs of variance 1."""
    scale = np.sqrt(examples.inputs.astype(np.float64).var(0).mean())
    inputs = (examples.inputs.astype(np.float64) - examples.inputs.mean(0, np.float64)) / scale
    kernel = layer[0].astype(np.float64) * scale
    values = logits(layer, examples)
    shares = np.exp(values - values.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    error = weights[examples.labels][:, None] * (shares - np.eye(len(weights))[examples.labels])
    return inputs.T @ error + penalty * kernel, error.sum(0)


@pytest.mark.parametrize("weights", [ONES, np.array([0.5, 1.0, 2.0])])
def test_it_is_the_minimum_of_the_weighted_and_penalised_loss(weights: np.ndarray) -> None:
    examples = clouds(0)
    for penalty in (10.0, 0.1):
        layer = _solved(_solver(), examples, penalty, weights)
        of_kernel, of_bias = gradient(examples, layer, penalty, weights)
        assert np.abs(of_kernel).max() < 0.05 and np.abs(of_bias).max() < 0.05  # of sums over 120 examples


def test_two_classes_and_classes_without_examples() -> None:
    examples = clouds(1, (30, 30))
    kernel, bias = _solved(_solver(), examples, 1.0, np.ones(4))
    values = logits((kernel, bias), examples)
    assert (values.argmax(-1) == examples.labels).mean() > 0.95
    assert values.mean(0)[2:].max() < values.mean(0)[:2].min() - 4  # what nobody has shown is not guessed
    of_kernel, _ = gradient(examples, (kernel[:, :2], bias[:2]), 1.0, np.ones(2))
    assert np.abs(of_kernel).max() < 0.05


def test_the_penalty_is_that_of_the_least_loss_on_unseen_examples() -> None:
    draw = np.random.default_rng(2)
    noise = Examples(draw.normal(size=(60, 30)).astype(np.float32), draw.integers(3, size=60))
    assert fit(noise, Examples(noise.inputs[:30], noise.labels[::-1][:30]), ONES)[1] >= 1000
    layer, penalty, scores = fit(clouds(3), clouds(4), ONES)
    assert penalty in PENALTIES[1:] and scores["count"] == 120 and scores["top1"] > 0.97
    loss, right, count = _scores(layer, clouds(4))
    assert scores == {"top1": right / count, "nll": loss / count, "count": count}
    others = [_scores(_solved(_solver(), clouds(3), other, ONES), clouds(4))[0] for other in PENALTIES]
    assert loss <= min(others) * 1.02


def test_without_validation_each_class_is_left_out_in_parts() -> None:
    examples = clouds(5, (11, 5, 1))
    folds = _folds(examples)
    assert len(folds) == FOLDS
    assert [np.bincount(unseen.labels, minlength=3).tolist() for _, unseen in folds] == [[3, 1, 0]] + [[2, 1, 0]] * 4
    assert all(len(seen.labels) + len(unseen.labels) == 17 and 2 in seen.labels for seen, unseen in folds)
    _, _, scores = fit(examples, None, ONES)
    assert scores["count"] == 16
    assert fit(clouds(6, (1, 1, 1)), None, ONES)[1:] == (PENALTIES[3], {})  # nothing to choose by
