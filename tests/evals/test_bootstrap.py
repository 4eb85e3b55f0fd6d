"""The bootstrap against its definition and against closed forms."""

import numpy as np
import pytest
from scipy import stats

from cnn_jax.data.spec import INDEX
from cnn_jax.evals import bootstrap, classification
from cnn_jax.evals.evaluator import Scores
from tests.evals import definitions


def example(count: int, accuracy: float = 0.8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four classes; the model is right with probability `accuracy`, at varied confidence."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    said = np.where(rng.random(count) < accuracy, labels, (labels + 1) % 4)
    logits = rng.normal(size=(count, 4)) * 0.1
    logits[np.arange(count), said] += rng.uniform(1, 4, size=count)
    return logits.astype(np.float32), labels


def scored(logits: np.ndarray, labels: np.ndarray) -> Scores:
    evaluator = classification.evaluator([str(k) for k in range(np.shape(logits)[1])])
    batch = {"label": np.asarray(labels), INDEX: np.arange(len(labels))}
    return evaluator.finish(evaluator.add(evaluator.start(), {"logits": np.asarray(logits)}, batch))


def test_equals_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 40)
    logits, labels = example(60)
    found = scored(logits, labels)
    times = bootstrap.weights(np.arange(60))  # an example counts as often as it is drawn
    drawn = [np.repeat(np.arange(60), times[:, resample]) for resample in range(40)]
    scores = [definitions.scores(logits[rows], labels[rows]) for rows in drawn]
    assert list(found.numbers) == ["top1", "top5", "nll", "brier", "ece"]
    for name, score in found.numbers.items():
        if name != "top5":  # of four classes: always 1
            assert score[1:] == pytest.approx(np.quantile([s[name] for s in scores], [0.025, 0.975]), abs=1e-6)


def test_top1_follows_the_binomial() -> None:
    logits, labels = example(500)
    value, low, high = scored(logits, labels).numbers["top1"]
    expected = stats.binom.ppf([0.025, 0.975], 500, value) / 500
    np.testing.assert_allclose((low, high), expected, atol=3 / 500)


def test_covers_the_true_accuracy_95_times_in_100() -> None:
    right = np.random.default_rng(0).random((200, 1000)) < 0.8  # a column for each of 1000 test sets
    samples = bootstrap.means(bootstrap.add(bootstrap.start(1000), right.astype(float), np.arange(200)))
    low, high = np.transpose([bootstrap.interval(column) for column in samples.T])
    assert 0.925 <= np.mean((low <= 0.8) & (high >= 0.8)) <= 0.965  # 0.945 expected, standard error 0.007


def test_weights_are_poisson_and_know_only_the_index() -> None:
    draws = bootstrap.weights(np.arange(3000)).astype(float)
    assert draws.shape == (3000, bootstrap.RESAMPLES)
    shares = np.bincount(draws.astype(int).ravel(), minlength=8)[:8] / draws.size
    np.testing.assert_allclose(shares, stats.poisson.pmf(np.arange(8), 1), atol=1e-3)
    for axis in (0, 1):  # of each example and of each resample
        assert abs(draws.mean(axis) - 1).max() < 0.2 and abs(draws.var(axis) - 1).max() < 0.4
    between = np.corrcoef(draws[:, :40].T) - np.eye(40)  # resamples know nothing of one another, nor do examples
    assert abs(between).max() < 0.1 and abs(np.corrcoef(draws[:40]) - np.eye(40)).max() < 0.2
    order = np.random.default_rng(0).permutation(3000)
    np.testing.assert_array_equal(bootstrap.weights(order), draws[order])


def test_weights_are_pinned() -> None:
    # An interval that was published must come out again.
    assert bootstrap.weights([0, 1, 10**6])[:, :12].tolist() == [
        [1, 0, 2, 1, 1, 2, 4, 0, 3, 5, 1, 2],
        [1, 1, 1, 1, 3, 2, 1, 2, 0, 1, 2, 2],
        [0, 2, 0, 2, 1, 0, 5, 0, 1, 0, 2, 1],
    ]


def test_order_and_pieces_do_not_change_a_bit() -> None:
    terms, index = np.random.default_rng(0).normal(size=(90, 3)) * [1, 1e-6, 1e5], np.arange(90)
    whole = bootstrap.add(bootstrap.start(3), terms, index)
    parts = bootstrap.start(3)
    for part in np.array_split(np.random.default_rng(1).permutation(90), 7):
        parts = bootstrap.add(parts, terms[part], index[part])
    np.testing.assert_array_equal(parts, whole)


def test_a_term_without_bound_counts_as_the_largest() -> None:
    totals = bootstrap.add(bootstrap.start(1), np.array([[1e30], [-1e30]]), [0, 1])
    times = bootstrap.weights([0, 1]).astype(float)
    expected = bootstrap.LARGEST * (times[0] - times[1]) / np.maximum(times.sum(0), 1)
    np.testing.assert_allclose(bootstrap.means(totals)[:, 0], expected)


def test_no_spread_no_width() -> None:
    found = scored([[2.0, 0.0]] * 5, [0] * 5)
    for name in ("nll", "brier", "ece"):
        value, low, high = found.numbers[name]
        # The one resample in 150 that has none of the five says nothing.
        assert low == pytest.approx(high, abs=1e-6) and low == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 100, 10**6])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_all_or_none_are_right_the_interval_is_wilsons(share: float, count: int) -> None:
    found = bootstrap.share_interval(share, count, np.full(bootstrap.RESAMPLES, share))
    test = stats.binomtest(round(share * count), count).proportion_ci(method="wilson")
    assert found == pytest.approx((test.low, test.high), abs=1e-12)
    assert found[0] < found[1] and 0 <= found[0] <= share <= found[1] <= 1


def test_a_share_in_between_has_the_interval_of_the_resamples() -> None:
    samples = np.random.default_rng(0).random(bootstrap.RESAMPLES)
    assert bootstrap.share_interval(0.5, 10, samples) == bootstrap.interval(samples)
