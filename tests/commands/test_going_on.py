"""Runs that end early for want of a better validation, and runs that are made longer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.report import log
from cnn_jax.train import checkpoint
from cnn_jax.train.checkpoint import restore_variables

pytestmark = pytest.mark.usefixtures("no_pictures")
TINY = "experiments/tiny.py"
MEASURED = ("time", "seconds", "examples_per_second")


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
LONG = ("--config.duration=60 steps", "--config.optim.lr=0.5", "--config.keep=20")


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
    assert [step for step, _ in scores] == list(range(2, end + 1, 2)) and end == best + 4 < 60
    assert results["step"] == results["best_step"] == best and best % 5 and results["validation"]["top1"] == top1
    assert results["validation"]["step"] == best and "interval95" in results["validation"]
    assert checkpoint.newest_good(run / "checkpoints") == end
    said = launch("eval", run)
    assert f"checkpoint of step {best}" in said.out and f"top1  {results['test']['top1']:.4f}" in said.out
    assert f"checkpoint of step {end}" in launch("eval", run, "--checkpoint=last").out
    assert f"is complete (step {end})" in launch("train", TINY, *PATIENT, *LONG, "--workdir=run").out

    for step in checkpoint.steps(run / "checkpoints")[:2]:  # killed after the end, or before, it comes to the same
        copy = as_killed_after(step, run, tmp_path / f"killed-{step}")
        assert launch("train", TINY, *PATIENT, *LONG, f"--workdir={copy}").code == 0
        assert plain(read(copy / "results.json")) == plain(results)
        assert plain(log.read(copy)) == plain(rows) and state(copy, end) == state(run, end)


def test_patience_needs_a_validation_split(project: Path, launch: Callable) -> None:
    said = launch("train", TINY, PATIENT[0], "--config.data.validation=0", "--workdir=run")
    assert said.code == 2 and said.err.count("\n") == 1 and "keep one, as --config.data.validation=0.1" in said.err
    assert not Path("run").exists()
