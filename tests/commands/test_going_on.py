"""Runs that end early for want of a better validation, and runs that are made longer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from cnn_jax.launch import evaluations
from cnn_jax.report import log
from cnn_jax.train import checkpoint
from cnn_jax.train.checkpoint import restore_variables

pytestmark = pytest.mark.usefixtures("no_pictures")
TINY = "experiments/tiny.py"
MEASURED = ("time", "seconds", "examples_per_second", "cost")


def plain(value: Any) -> Any:
    """JSON without what is measured."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items() if name not in MEASURED}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def state(run: Path, step: int) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(restore_variables(run / "checkpoints", step))]


def as_killed_after(step: int, run: Path, copy: Path) -> Path:
    """A copy of a run as a kill leaves it when the checkpoint of `step` was complete."""
    shutil.copytree(run, copy)
    (copy / "results.json").unlink()
    for later in checkpoint.steps(copy / "checkpoints"):
        if later > step:
            shutil.rmtree(copy / "checkpoints" / str(later))
    return copy


# Evaluations every 2 steps and checkpoints every 5: the best state is saved because it is the best.
PATIENT = ("--config.evaluate.patience=2", "--config.evaluate.every=2 steps", "--config.save_every=5 steps")
LONG = ("--config.duration=20 steps", "--config.optim.lr=0.5", "--config.keep=20")


def test_a_run_with_patience_ends_early_and_its_best_state_is_scored(
    project: Path, launch: Callable, tmp_path: Path
) -> None:
    said = launch("train", TINY, *PATIENT, *LONG, "--workdir=run")
    assert (said.code, said.err) == (0, "")
    run = project / "run"
    rows, results = log.read(run), read(run / "results.json")
    scores = [(row["step"], row["top1"]) for row in rows if row["split"] == "validation"]
    best, top1 = max(scores, key=lambda pair: pair[1])
    end = results["steps"]
    assert [step for step, _ in scores] == list(range(2, end + 1, 2)) and end == best + 4 < 20
    assert results["step"] == results["best_step"] == best and best % 5 and results["validation"]["top1"] == top1
    assert results["validation"]["step"] == best and "interval95" in results["validation"]
    assert checkpoint.newest_good(run / "checkpoints") == end
    lines = [line for line in said.out.splitlines() if line.startswith("validation  step ")]
    loss = results["validation"]["loss"]
    assert len(lines) == len(scores)
    expected = f"validation  step {best:2}  epoch {best / 50.5:.2f}  loss {loss:.4f}  top1 {top1:.4f}  best"
    assert lines[-3:-2] == [expected] and lines[-1].endswith("  patience 2 of 2")
    assert f"ended early at step {end} of 20: top1 was not better 2 times (evaluate.patience)\n" in said.out
    assert f"best top1 by validation: {top1:.4f} at step {best}, which is scored\n" in said.out
    said = launch("eval", run)
    assert f"checkpoint of step {best}" in said.out and f"top1  {results['test']['top1']:.4f}" in said.out
    assert f"is complete (step {end})" in launch("train", TINY, *PATIENT, *LONG, "--workdir=run").out

    for step in checkpoint.steps(run / "checkpoints")[:2]:  # killed after the end, or before, it comes to the same
        copy = as_killed_after(step, run, tmp_path / f"killed-{step}")
        assert launch("train", TINY, *PATIENT, *LONG, f"--workdir={copy}").code == 0
        assert plain(read(copy / "results.json")) == plain(results)
        assert plain(log.read(copy)) == plain(rows) and state(copy, end) == state(run, end)

    # Made longer it waits anew.
    assert launch("train", run, "--config.duration=24 steps").code == 0
    assert read(run / "results-step8.json") == results | {"steps": 8} and read(run / "results.json")["steps"] > 10


def test_the_best_state_may_be_that_of_the_lowest_score(project: Path, launch: Callable) -> None:
    words = (TINY, *PATIENT, "--config.duration=6 steps", "--config.optim.lr=1")
    said = launch("train", *words, "--config.evaluate.best_by=-nll", "--workdir=run")
    rows, results = log.read(project / "run"), read(project / "run" / "results.json")
    scores = [(row["nll"], row["step"]) for row in rows if row["split"] == "validation"]
    nll, step = min(scores)
    assert said.code == 0 and results["step"] == step == checkpoint.best(project / "run" / "checkpoints")
    assert f"best nll by validation: {nll:.4f} at step {step}, which is scored\n" in said.out
    said = launch("train", *words, "--config.evaluate.best_by=-nil", "--workdir=other")
    assert said.code == 2 and "evaluate.best_by = '-nil' is no score: did you mean 'nll'?" in said.err


def test_a_run_shows_at_most_a_hundred_validations(project: Path, launch: Callable, monkeypatch) -> None:
    monkeypatch.setattr(evaluations, "LINES", 3)
    words = ("--config.duration=7 steps", "--config.evaluate.every=1 steps", "--config.optim.lr=1e-30")
    said = launch("train", TINY, *words, "--workdir=run")
    lines = said.out.splitlines()
    assert "of 3 validations one is shown here (evaluate.every); metrics.jsonl has all" in lines
    assert [line.split()[2] for line in lines if line.startswith("validation  step ")] == ["3", "6", "7"]
    assert lines[-3].endswith(" at step 1; the last, step 7, is scored")
    rows = log.read(project / "run")
    assert [row["step"] for row in rows if row["split"] == "validation"] == list(range(1, 8))


def test_patience_needs_a_validation_split(project: Path, launch: Callable) -> None:
    said = launch("train", TINY, PATIENT[0], "--config.data.validation=0", "--workdir=run")
    assert said.code == 2 and said.err.count("\n") == 1 and "keep one, as --config.data.validation=0.1" in said.err
    assert not Path("run").exists()


# What a state has beside weights: momentum, an average, and a decay of the learning rate or none.
KEPT = ("--config.optim.ema=0.9", "--config.keep=20")
CONSTANT = (*KEPT, "--config.optim.schedule=constant")
COSINE = (*KEPT, "--config.optim.schedule=cosine", "--config.optim.warmup=50%")
LONGER = "--config.duration=12 steps"


def whole_state(run: Path, step: int) -> list[bytes]:
    with ocp.StandardCheckpointer() as reader:
        found = reader.restore((run / "checkpoints" / str(step) / "state").absolute())
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(found)]


def rates(run: Path) -> list[float]:
    return [row["learning_rate"] for row in log.read(run) if row["split"] == "train"]


def test_stretched_it_is_the_run_that_was_so_long_from_the_beginning(
    project: Path, launch: Callable, tmp_path: Path
) -> None:
    long, run = project / "long", project / "run"
    assert launch("train", TINY, *CONSTANT, LONGER, f"--workdir={long}").code == 0
    assert launch("train", TINY, *CONSTANT, f"--workdir={run}").code == 0
    former = read(run / "results.json")
    unfinished = as_killed_after(4, run, tmp_path / "unfinished")

    said = launch("train", TINY, *CONSTANT, LONGER, f"--workdir={run}")  # it had ended
    assert said.code == 0 and "going on from step 6, made longer at step 6 (stretch)" in said.out
    assert read(run / "results-step6.json") == former and read(run / "results.json")["steps"] == 12
    config = read(run / "config.json")
    assert (config["duration"], config["extended"]) == ("12 steps", "stretch 6")
    assert whole_state(run, 12) == whole_state(long, 12)
    steps = [row["step"] for row in log.read(run) if row["split"] == "train"]
    assert steps == [2, 4, 6, 8, 10, 12]

    said = launch("train", TINY, *CONSTANT, LONGER, f"--workdir={unfinished}")
    assert said.code == 0 and "going on from step 4, made longer at step 4 (stretch)" in said.out
    assert whole_state(unfinished, 12) == whole_state(long, 12) and plain(log.read(unfinished)) == plain(log.read(long))
    expected, found = (plain(read(folder / "results.json")) for folder in (long, unfinished))
    assert found == expected and not (unfinished / "results-step6.json").exists()

    for words in (("--config.duration=6 steps",), ()):
        said = launch("train", TINY, *CONSTANT, *words, f"--workdir={run}")
        assert said.code == 2 and said.err.count("\n") == 1
        assert "is of 12 steps, and duration = '6 steps' is 6: a run can be made longer" in said.err
    said = launch("train", TINY, *CONSTANT, "--config.duration=20 steps", "--config.optim.lr=1", f"--workdir={run}")
    assert said.code == 2 and "another configuration (optim.lr: 0.05 -> 1.0): give" in said.err
    said = launch("train", TINY, *CONSTANT, LONGER, "--config.extend=restart", f"--workdir={run}")
    assert said.code == 2 and "another configuration (extend: stretch -> restart): give" in said.err
    assert "is complete (step 12)" in launch("train", TINY, *CONSTANT, LONGER, f"--workdir={run}").out

    # Without its config.json it is no folder of pictures, either, and nor is the folder that holds it.
    said = launch("train", str(run.parent))
    assert said.code == 2 and "holds runs: name one, as" in said.err
    (run / "config.json").unlink()
    said = launch("train", str(run))
    assert said.code == 2 and "is a run folder without config.json: to go on with its run give the command" in said.err


def test_restarted_its_schedule_begins_anew_and_a_kill_changes_nothing(
    project: Path, launch: Callable, tmp_path: Path
) -> None:
    run, again = project / "run", project / "again"
    assert launch("train", TINY, *COSINE, f"--workdir={run}").code == 0
    said = launch("train", run, LONGER, "--config.extend=restart")  # a run folder in place of the experiment
    assert said.code == 0 and "going on from step 6, made longer at step 6 (restart)" in said.out
    first = rates(run)[:3]
    assert rates(run) == [*first, *first] and max(first) > 3 * first[-1]
    killed = as_killed_after(8, run, tmp_path / "killed")
    assert launch("train", killed).code == 0
    assert whole_state(killed, 12) == whole_state(run, 12) and plain(log.read(killed)) == plain(log.read(run))
    assert plain(read(killed / "results.json")) == plain(read(run / "results.json"))
    # The recorded configuration is that of a run which makes it in one go.
    words = (LONGER, "--config.extend=restart", "--config.extended=restart 6")
    assert launch("train", TINY, *COSINE, *words, f"--workdir={again}").code == 0
    assert whole_state(again, 12) == whole_state(run, 12)
    assert read(again / "config.json") == read(run / "config.json")
    # Where the checkpoints since then are lost, it is made longer at the same step once more.
    lost = as_killed_after(6, run, tmp_path / "lost")
    said = launch("train", lost, "--config.duration=13 steps")
    assert said.code == 0 and read(lost / "config.json")["extended"] == "restart 6"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--fresh"], "is a run, which goes on: to begin anew name the experiment"),
        (["run", "--seeds=0,1"], "is a run, which goes on"),
        (["--workdir", "run", "nothing"], "there is no experiment 'nothing'"),
        (["run", "--config.extended=longer"], "extended = 'longer' must be as 'stretch 70, restart 500'"),
        ([TINY, "--workdir=new", "--config.extended=restart 6"], "restarts at step 6, not before step 6"),
        (["run", "--config.duration=8 steps", "--config.optim.lr=1"], "(optim.lr: 0.05 -> 1.0)"),
    ],
    ids=str,
)
def test_what_cannot_go_on_is_said(words: list[str], says: str, project: Path, run: Path, launch: Callable) -> None:
    said = launch("train", *words)
    assert said.code == 2 and says in said.err.splitlines()[-1], said.err
    assert read(run / "config.json")["duration"] == "6 steps" and (run / "results.json").exists()
