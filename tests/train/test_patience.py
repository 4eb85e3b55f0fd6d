"""Early stopping follows from the scores of all evaluations alone."""

import math

import pytest

from cnn_jax.train.patience import Standing, is_over, standing


@pytest.mark.parametrize(
    ("scores", "best", "waited"),
    [
        ([], 0, 0),
        ([0.5], 1, 0),
        ([0.5, 0.4, 0.5], 1, 2),  # equal is not better, and the first of equals is the best
        ([0.5, 0.4, 0.6, math.nan], 3, 1),
        ([math.nan, math.nan], 0, 2),
    ],
)
def test_the_best_and_how_many_have_followed(scores: list[float], best: int, waited: int) -> None:
    history = list(enumerate(scores, start=1))
    found = standing(history)
    assert found == Standing(best, scores[best - 1] if best else -math.inf, waited)
    for patience in range(4):
        assert is_over(history, patience) == (0 < patience <= waited)
