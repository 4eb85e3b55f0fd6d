"""Runs that are killed, resumed and killed again end exactly as one that was left alone."""

import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data.source import opened
from cnn_jax.launch import experiment_file, training
from cnn_jax.report import classify as report
from cnn_jax.report import log
from cnn_jax.train import checkpoint, loop, run, step
from cnn_jax.train.run import assemble, fresh
from cnn_jax.train.state import State

STEPS = 40
# Rows every 4 steps and checkpoints every 5: a resume begins in the middle of a row.
EXPERIMENT = f"""
from functools import partial
from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import cosine

def experiment():
    return Experiment(
        name="tiny",
        data=Data(source=digits, batch_size=16),
        model=Model(build=partial(small_cnn, features=(8, 16), hidden=128, dropout=0.3), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=cosine, ema=0.9),
        augment=compose(flip, partial(shift, pixels=1)),
        duration="{STEPS} steps", save_every="5 steps", log_every="4 steps",
        evaluate=Evaluate(every="10 steps", batch_size=128, patience=3),
        compute=Compute(devices=2),
    )
"""
CHILD = str(Path(__file__).with_name("child_run.py"))
Start = Callable[..., BaseProcess]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "tiny.py"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="module")
def start(experiment: Path) -> Start:
    """Starts `launch.py train` in a process of its own, forked from one with all modules imported."""
    context: ForkServerContext = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cnn_jax.launch.training", "cnn_jax.commands.train", "sklearn.datasets"])

    def start(folder: Path, moment: str = "", step: int = 0) -> BaseProcess:
        settings = (["train", str(experiment), f"--workdir={folder}"], moment, step, str(output_of(folder)))
        process = context.Process(
            target=runpy.run_path, args=(CHILD,), kwargs={"init_globals": {"SETTINGS": settings}}, daemon=True
        )
        process.start()
        return process

    return start


def output_of(folder: Path) -> Path:
    return folder.with_suffix(".output")


def ends(process: BaseProcess) -> int | None:
    process.join(120)
    return process.exitcode


def train_here(folder: Path, experiment: Path) -> None:
    """The same run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "figures", lambda *_: None)
        training.train(experiment_file.load(str(experiment))[1], folder, experiment)


@pytest.fixture(scope="module")
def undisturbed(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train_here(folder, experiment)
    return folder


@pytest.fixture(scope="module")
def restored(experiment: Path) -> Callable[[Path], State]:
    """Reads the last checkpoint of a run folder."""
    config = experiment_file.load(str(experiment))[1]
    source = opened(config.data.source, validation=config.data.validation)["train"]
    target = assemble(config, source.spec, len(source)).engine.target

    def restored(folder: Path) -> State:
        return checkpoint.restore(folder / "checkpoints", STEPS, target)

    return restored


@pytest.fixture(scope="module")
def differences(undisturbed: Path, restored: Callable[[Path], State]) -> Callable[[Path], set[str]]:
    """In what a run, by its folder, differs from the undisturbed one: bit by bit, and row by row."""
    expected = jax.tree.leaves_with_path(restored(undisturbed))

    def rows(folder: Path) -> list[dict[str, Any]]:
        measured = ("time", "examples_per_second")
        return [{k: v for k, v in row.items() if k not in measured} for row in log.read(folder)]

    def differences(folder: Path) -> set[str]:
        found = jax.tree.leaves_with_path(restored(folder))
        assert [path for path, _ in found] == [path for path, _ in expected]
        pairs = zip(found, expected, strict=True)
        parts = {path[0].name for (path, a), (_, b) in pairs if np.asarray(a).tobytes() != np.asarray(b).tobytes()}
        tests = [json.loads((f / "results.json").read_text())["test"] for f in (folder, undisturbed)]
        parts |= {"results"} if tests[0] != tests[1] else set()
        return parts | ({"rows"} if rows(folder) != rows(undisturbed) else set())

    return differences


def test_the_undisturbed_run_is_about_something(undisturbed: Path, restored: Callable[[Path], State]) -> None:
    state = restored(undisturbed)
    assert state.step == STEPS and state.ema is not None
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves((state.opt_state, state.model_state)) if leaf.ndim)
    rows = log.read(undisturbed)
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(4, STEPS + 1, 4))
    assert [row["step"] for row in rows if row["split"] == "validation"] == [10, 20, 30, 40]
    assert checkpoint.steps(undisturbed / "checkpoints")[:2] == [40, 35]


def test_killed_at_one_moment_after_another(
    start: Start, differences: Callable[[Path], set[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    moments = [
        ("dispatched", 3),  # nothing is saved yet
        ("logged", 8),  # a row newer than the checkpoint
        ("saving", 20),  # and between any two file operations of it: test_kills
        ("scored", 0),  # all is trained, but the results are not written
    ]
    for moment, at in moments:
        assert ends(start(folder, moment, at)) == -signal.SIGKILL, (moment, at, output_of(folder).read_text())
    assert ends(start(folder)) == 0, output_of(folder).read_text()
    assert differences(folder) == set()


@pytest.mark.filterwarnings("ignore:the checkpoint of step")
def test_chaos(start: Start, experiment: Path, differences: Callable[[Path], set[str]], tmp_path: Path) -> None:
    """One fault after another; experiments/benchmarks/chaos.py has fifty rounds of more kinds."""
    folder, draw = tmp_path / "run", np.random.default_rng(17)
    checkpoints = folder / "checkpoints"

    def started(*, until: Callable[[], object]) -> BaseProcess:
        output_of(folder).unlink(missing_ok=True)
        process = start(folder)
        while process.is_alive() and not until():
            time.sleep(0.002)
        return process

    # Killed at a random time, and the log is torn.
    process = started(until=lambda: "from the beginning" in _output(folder))
    process.join(draw.exponential(1))
    process.kill()
    process.join()
    with (folder / log.FILE).open("a") as rows:
        rows.write('{"step": 99, "spl')

    # Killed as soon as there is a new checkpoint, which is damaged then.
    known = set(checkpoint.steps(checkpoints))
    process = started(until=lambda: set(checkpoint.steps(checkpoints)) - known)
    process.kill()
    process.join()
    files = sorted(path for path in (checkpoints / str(checkpoint.steps(checkpoints)[0])).rglob("*") if path.is_file())
    victim = files[draw.integers(len(files))]
    victim.write_bytes(victim.read_bytes()[:-1])

    # Stopped for a while, in which it is started a second time, and asked to end.
    process = started(until=lambda: "going on from" in _output(folder) or "from the beginning" in _output(folder))
    os.kill(process.pid or 0, signal.SIGSTOP)
    with pytest.raises(ValueError, match="another process is training in"):
        train_here(folder, experiment)
    for number in (signal.SIGTERM, signal.SIGCONT):
        os.kill(process.pid or 0, number)
    assert ends(process) in (75, 0), _output(folder)

    train_here(folder, experiment)
    assert differences(folder) == set()


def _output(folder: Path) -> str:
    return output_of(folder).read_text() if output_of(folder).exists() else ""


@pytest.fixture(scope="module")
def interrupted(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed when the checkpoint of step 20 was complete."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    assert ends(start(folder, "sealed", 20)) == -signal.SIGKILL, _output(folder)
    return folder


@pytest.fixture
def copy(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def keys_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers counted from where the process began, not from the start of the run."""
    fold_in = jax.random.fold_in

    class Random:
        fold_in = staticmethod(lambda key, data: fold_in(key, data - 20 if getattr(data, "ndim", 1) == 0 else data))

    jax_of_step = type("jax", (), {**vars(jax), "random": Random})
    monkeypatch.setattr(step, "jax", jax_of_step)


def data_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches from the first one on again."""
    batch = loop.begun
    monkeypatch.setattr(
        loop, "begun", lambda source, seed, step, *rest, **more: batch(source, seed, step - 20, *rest, **more)
    )


def forgetting(part: str) -> Callable[[pytest.MonkeyPatch], None]:
    def forget(monkeypatch: pytest.MonkeyPatch) -> None:
        resume = loop.resume

        def resumed(run: run.Run, folder: Path, initial: Any) -> tuple[State, int, dict[str, Any]]:
            state, at, about = resume(run, folder, initial)
            new = getattr(fresh(run), part)
            return state.replace(**{part: jax.tree.map(jnp.asarray, new)}), at, about

        monkeypatch.setattr(loop, "resume", resumed)

    forget.__name__ = f"forgetting_{part}"
    return forget


@pytest.mark.parametrize(
    ("broken", "least"),
    [
        (keys_of_the_session, {"params", "model_state", "opt_state", "ema", "rows"}),
        (data_of_the_session, {"params", "model_state", "opt_state", "ema", "rows"}),
        (forgetting("model_state"), {"model_state", "ema", "rows"}),
        (forgetting("opt_state"), {"params", "model_state", "opt_state", "ema", "rows"}),
        (forgetting("ema"), {"ema"}),
    ],
)
def test_the_comparison_sees_a_broken_resume(
    broken: Callable[[pytest.MonkeyPatch], None],
    least: set[str],
    copy: Path,
    experiment: Path,
    differences: Callable[[Path], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    train_here(copy, experiment)
    assert differences(copy) >= least


def test_a_full_disk_and_a_stop_cost_nothing(
    start: Start, differences: Callable[[Path], set[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert ends(start(folder, "full disk", 10)) == 74, _output(folder)
    # How much is written before a file is too large differs: one of the checkpoints after that of step 10 fails.
    assert "Traceback" not in _output(folder) and "Event loop" not in _output(folder), _output(folder)
    said = re.search(
        r"error: the checkpoint of step (\d+) could not be written .*newest good one is of step (\d+)", _output(folder)
    )
    assert said and "ERROR:absl" not in _output(folder), _output(folder)
    assert 10 <= int(said[2]) < int(said[1])
    assert checkpoint.newest_good(folder / "checkpoints") == int(said[2])

    stop = int(said[2]) + 2
    assert ends(start(folder, "asked to stop", stop)) == 75, _output(folder)
    assert _output(folder).splitlines()[-1].startswith(f"stopped at step {stop} of 40, which is saved")
    assert checkpoint.newest_good(folder / "checkpoints") == stop

    assert ends(start(folder)) == 0, _output(folder)
    assert differences(folder) == set()


def test_asked_twice_it_ends_at_once(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, "stuck", 2)
    while process.is_alive() and not output_of(folder).with_suffix(".stuck").exists():
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(0.5)
    assert process.exitcode is None  # it would save, if it were not stuck
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(10)
    assert process.exitcode == -signal.SIGTERM
