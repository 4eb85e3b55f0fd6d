"""How scores are printed."""

import math

from cnn_jax.commands.eval import _print
from cnn_jax.evals.evaluator import Score, Scores, to_json
from cnn_jax.launch.training import _listed

NUMBERS = {"loss": Score(1.25), "ap": Score(0.5, 0.4, 0.6), "ap_large": Score(math.nan)}


def test_what_has_no_score_is_a_dash(capsys) -> None:
    assert _listed("test", to_json(Scores(NUMBERS, {})), "ap") == (
        "test: loss 1.2500, ap 0.5000 (95 % 0.400 to 0.600), ap_large –"
    )
    _print(NUMBERS)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["ap_large", "–"]


def test_a_long_list_is_broken_between_scores() -> None:
    many = {f"score{number}": Score(number / 100) for number in range(40)}
    lines = _listed("test", to_json(Scores(many, {})), "score0").splitlines()
    assert len(lines) > 4 and all(len(line) <= 120 for line in lines) and all(line[0] in "t " for line in lines)
    assert " ".join("".join(lines).split()).count("score") == 40 and not lines[-1].endswith(",")
