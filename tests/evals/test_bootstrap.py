"""The bootstrap against its definition and against the binomial closed form."""

import numpy as np
import pytest
from scipy import stats

from cnn_jax.evals import bootstrap, classification


def example(count: int, accuracy: float = 0.8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four classes; the model is right with probability `accuracy`, at varied confidence."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    said = np.where(rng.random(count) < accuracy, labels, (labels + 1) % 4)
    logits = rng.normal(size=(count, 4)) * 0.1
    logits[np.arange(count), said] += rng.uniform(1, 4, size=count)
    return logits.astype(np.float32), labels


def test_equals_its_definition() -> None:
    logits, labels = example(60)
    found = bootstrap.intervals(logits, labels, resamples=50, level=0.9, seed=3)
    drawn = np.random.default_rng(3).integers(60, size=(50, 60), dtype=np.int32)
    scores = [classification.scores(logits[i], labels[i], "abcd") for i in drawn]
    assert list(found) == ["top1", "top5", "nll", "brier", "ece"]
    for name, interval in found.items():
        assert interval == pytest.approx(np.quantile([score[name] for score in scores], [0.05, 0.95]), rel=1e-9)


def test_top1_follows_the_binomial() -> None:
    logits, labels = example(500)
    share = classification.top_k_accuracy(logits, labels)
    found = bootstrap.intervals(logits, labels, resamples=10_000)["top1"]
    expected = stats.binom.ppf([0.025, 0.975], 500, share) / 500
    np.testing.assert_allclose(found, expected, atol=1.01 / 500)


def test_covers_the_true_accuracy_95_times_in_100() -> None:
    covered = 0
    for seed in range(300):
        low, high = bootstrap.intervals(*example(200, 0.8, seed), resamples=200, seed=seed)["top1"]
        covered += low <= 0.8 <= high
    assert 0.91 <= covered / 300 <= 0.98  # 0.945 expected, standard error 0.013


def test_seeded_and_independent_of_the_piece_size(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = example(33)
    found = bootstrap.intervals(logits, labels, resamples=40)
    assert found == bootstrap.intervals(logits, labels, resamples=40)
    assert found != bootstrap.intervals(logits, labels, resamples=40, seed=1)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 100)
    again = bootstrap.intervals(logits, labels, resamples=40)
    for name in found:
        assert again[name] == pytest.approx(found[name], rel=1e-12)


def test_no_spread_no_width() -> None:
    found = bootstrap.intervals([[2.0, 0.0]] * 5, [0] * 5)
    scores = classification.scores([[2.0, 0.0]] * 5, [0] * 5, "ab")
    for name, (low, high) in found.items():
        assert low == pytest.approx(high) == pytest.approx(scores[name])


@pytest.mark.parametrize(("resamples", "level"), [(1, 0.95), (100, 1.0), (100, 0.0), (100, 95)])
def test_bad_settings_are_refused(resamples: int, level: float) -> None:
    with pytest.raises(ValueError, match="resamples >= 2 and 0 < level < 1"):
        bootstrap.intervals([[0.0, 1.0]], [0], resamples=resamples, level=level)
