"""Optuna's proposals, made from what the run folders say."""

import math
import sys

import pytest

from cnn_jax.sweep import tpe
from cnn_jax.sweep.folder import Standing
from cnn_jax.sweep.space import Range, digest

AXES = {
    "optim.lr": Range(1e-4, 1.0, log=True, whole=False),
    "data.batch_size": Range(8, 64, log=False, whole=True),
    "optim.build": ("sgd", "adamw"),
}


def done(values: dict, score: float) -> tpe.Tried:
    return tpe.Tried(values, [Standing((score - 0.1,), seconds=1.0), Standing((score + 0.1,), seconds=1.0)])


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'cnn_jax\[sweep\]'"):
        tpe.optuna()


def test_proposals_come_near_what_was_good_and_are_new():
    pytest.importorskip("optuna")
    tried: list[tpe.Tried] = []
    for _ in range(30):
        values = tpe.proposed(AXES, tried)
        assert values is not None and values == tpe.proposed(AXES, tried)  # of the same past the same
        assert digest(values) not in {digest(one.values) for one in tried} and values.keys() == AXES.keys()
        assert 1e-4 <= values["optim.lr"] <= 1 and type(values["data.batch_size"]) is int
        distance = abs(math.log10(values["optim.lr"]) + 2)  # the best rate is 0.01
        tried.append(done(values, -distance))
    far = [abs(math.log10(one.values["optim.lr"]) + 2) for one in tried]
    assert sum(far[20:]) < 0.6 * sum(far[:10])


def test_a_space_that_is_used_up_proposes_nothing():
    pytest.importorskip("optuna")
    axes = {"optim.build": ("sgd", "adamw")}
    tried = [done({"optim.build": name}, 0.5) for name in axes["optim.build"]]
    assert tpe.proposed(axes, tried[:1]) == {"optim.build": "adamw"} and tpe.proposed(axes, tried) is None


def test_the_journal_is_made_anew_and_nothing_in_it_is_left_running(tmp_path):
    optuna = pytest.importorskip("optuna")
    values = [{"optim.lr": rate, "data.batch_size": 8, "optim.build": "sgd"} for rate in (0.1, 0.2, 0.3, 0.4)]
    tried = [
        done(values[0], 0.5),
        tpe.Tried(values[1], [Standing((0.5, 0.6)), Standing((0.7,))]),  # stopped at the first rung
        tpe.Tried(values[2], [Standing(failed="no memory"), Standing()]),
        tpe.Tried(values[3], [Standing(), Standing()]),
    ]
    for _ in range(2):
        tpe.write_journal(tmp_path / tpe.JOURNAL, "tiny", AXES, tried)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / tpe.JOURNAL)))
    (study,) = optuna.get_all_study_summaries(storage)
    assert study.study_name == "tiny" and study.n_trials == 4
    trials = optuna.load_study(study_name="tiny", storage=storage).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert trials[0].value == pytest.approx(0.5) and trials[0].params == values[0]
    assert trials[1].intermediate_values == {0: pytest.approx(0.6)}
    assert [path.name for path in tmp_path.iterdir()] == [tpe.JOURNAL]
