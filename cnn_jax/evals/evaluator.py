"""The contract of an evaluator: four NumPy functions over totals that do not grow with the set."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Score(NamedTuple):
    """One number, and the 95 % interval in which it would lie with another sample of examples, where that is known.

    nan where the set has nothing that it is about, as the precision on large objects where all are small.
    """

    value: float
    low: float | None = None
    high: float | None = None


class Scores(NamedTuple):
    """What is known at the end: numbers, which are logged and written as JSON, and tables, written as .npz."""

    numbers: dict[str, Score]
    tables: dict[str, np.ndarray]


class Evaluator(NamedTuple):
    """How a model is scored on a whole set, batch by batch.

    start: () -> totals of no examples.
    add: (totals, outputs {name: [B, ...]}, batch {field: [B, ...]}) -> totals. Of valid examples only: padding and what
      could not be decoded are left out before. INDEX [B] in the batch is the place of an example in its split.
    merge: (totals, totals) -> totals of the examples of both, in any order.
    finish: (totals) -> Scores.

    Totals keep sums, counts and at most a few rows, so that a set of any size is scored in the same memory, and scores
    depend neither on the batch size, nor on the order of examples, nor on how many processes shared them.
    """

    start: Callable[[], Any]
    add: Callable[[Any, Arrays, Arrays], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Scores]


def digits(value: float) -> str:
    """A score as it is shown; "–" for nan."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def plain(scores: Scores) -> dict[str, float]:
    """The numbers without their intervals."""
    return {name: score.value for name, score in scores.numbers.items()}


def to_json(scores: Scores) -> dict[str, Any]:
    """{name: number, ..., "interval95": {name: [low, high]}}; a number that is not finite becomes None."""
    intervals = {
        name: [score.low, score.high]
        for name, score in scores.numbers.items()
        if score.low is not None and score.high is not None
    }
    numbers = {name: score.value if math.isfinite(score.value) else None for name, score in scores.numbers.items()}
    return {**numbers, "interval95": intervals}
