"""Early stopping follows from the scores of all evaluations alone."""

import math

import pytest

from cnn_jax.train.patience import Criterion, Standing, criterion, standing


def test_the_criterion() -> None:
    assert criterion("", "top1") == criterion("top1", "nll") == Criterion("top1")
    lowest = criterion("-nll", "top1")
    assert lowest.of({"nll": 0.5, "top1": 1}) == -0.5 and math.isnan(lowest.of({}))


@pytest.mark.parametrize(
    ("scores", "best", "waited"),
    [
        ([], None, 0),
        ([0.5], 1, 0),
        ([0.5, 0.4, 0.5], 1, 2),  # equal is not better, and the first of equals is the best
        ([0.5, 0.4, 0.6, math.nan], 3, 1),
        ([math.nan, math.nan], None, 2),
    ],
)
def test_the_best_and_how_many_have_followed(scores: list[float], best: int | None, waited: int) -> None:
    history = list(enumerate(scores, start=1))
    found = standing(history)
    assert found == Standing(best, scores[best - 1] if best else -math.inf, waited)


@pytest.mark.parametrize(
    ("extended", "waited"),
    [
        ([("stretch", 3)], 1),  # it had ended there
        ([("stretch", 2)], 3),  # it had not: as the run that was so long from the beginning
        ([("restart", 2)], 2),
        ([("restart", 4)], 0),
        ([("stretch", 3), ("restart", 4)], 0),
    ],
)
def test_waiting_begins_anew_where_a_run_that_had_ended_was_made_longer(
    extended: list[tuple[str, int]], waited: int
) -> None:
    history = [(1, 0.5), (2, 0.4), (3, 0.4), (4, 0.4)]
    assert standing(history, 2, extended) == Standing(1, 0.5, waited)


def test_a_restart_between_two_evaluations_counts_from_there() -> None:
    assert standing([(2, 0.5), (4, 0.4), (8, 0.4)], 3, [("restart", 6)]).waited == 1
