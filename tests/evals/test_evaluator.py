"""Scores as JSON."""

import json
import math

from cnn_jax.evals.evaluator import Score, Scores, digits, plain, to_json


def test_scores_as_json() -> None:
    scores = Scores(
        {"top1": Score(0.5, 0.4, 0.6), "loss": Score(1.5), "gap": Score(math.nan), "rate": Score(math.inf)}, {}
    )
    found = to_json(scores)
    assert found == {"top1": 0.5, "loss": 1.5, "gap": None, "rate": None, "interval95": {"top1": [0.4, 0.6]}}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(plain(scores)) == ["top1", "loss", "gap", "rate"] and plain(scores)["top1"] == 0.5


def test_what_is_no_number_is_shown_as_a_dash() -> None:
    assert [digits(value) for value in (0.5, math.nan, math.inf)] == ["0.5000", "–", "inf"]
