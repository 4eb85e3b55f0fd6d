"""Sweeps of a tiny experiment on digits; tests/sweep has more, with trainings that take no time."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnn_jax.launch import cli
from cnn_jax.report import log
from cnn_jax.sweep import process
from cnn_jax.train import checkpoint
from tests.commands.test_going_on import plain

TINY = "experiments/tiny.py"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> list[list[str]]:
    """The commands that a sweep has started, which are done within this process."""
    done: list[list[str]] = []

    def started(words: list[str], said: Path, *_: object) -> Any:
        done.append(words)
        with said.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            code = cli.main(words)
        return SimpleNamespace(poll=lambda: code, wait=lambda: code, kill=lambda: None)

    monkeypatch.setattr(process, "started", started)
    return done


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_a_killed_sweep_goes_on_and_its_best_is_scored_on_the_test_split_once(project, launch, commands, monkeypatch):
    monkeypatch.setattr("cnn_jax.report.side_by_side.draw", lambda *_: None)
    long = ("--config.duration=2000 steps", "--config.save_every=400 steps", "--config.evaluate.every=1000 steps")
    words = ("sweep", TINY, "--config.optim.lr=0.1,1e-6", *long, "--config.log_every=400 steps")
    driver = os.fork()
    if driver == 0:
        try:
            monkeypatch.undo()  # with a process of its own for each training
            os.chdir(project)
            cli.main(list(words))
        finally:
            os._exit(1)
    folder = project / "sweeps" / "tiny"
    end, first = time.monotonic() + 120, list[Path]()
    while not first and time.monotonic() < end:
        first = list(folder.glob("runs/*/seed0/checkpoints/*.sha256"))
        time.sleep(0.01)
    os.kill(driver, signal.SIGKILL)
    os.waitpid(driver, 0)
    run = first[0].parents[1]
    lock = run.parent / "seed0.lock"
    holders = [pid for pid in filter(str.isdecimal, os.listdir("/proc")) if _holds(pid, lock)]
    assert holders and process.claimed(lock) is None  # the training does not know, and goes on, until it is killed, too
    for pid in holders:
        os.kill(int(pid), signal.SIGKILL)
    while process.claimed(lock) is None:
        time.sleep(0.01)
    assert run.parent.name.startswith("lr=0.1-") and not (run / "results.json").exists()

    said = launch(*words)
    assert (said.code, said.err, len(commands)) == (0, "", 2)
    heading, _, line = said.out.splitlines()[:3]
    assert heading == "sweep of tiny in sweeps/tiny: 2 configurations x 1 seeds, 1 at a time"
    assert line.startswith("[2/2] lr=1e-06-") and "going on from step" in (run.parent / "seed0.log").read_text()
    assert [row["step"] for row in log.read(run) if row["split"] == "train"] == [400, 800, 1200, 1600, 2000]
    assert f"best by validation: {run.parent.name} (sweeps/tiny/runs/{run.parent.name})" in said.out
    results = [read(path) for path in folder.glob("runs/*/*/results.json")]
    assert [result["test"] for result in results] == [None, None] and not (folder / "final.json").exists()

    said = launch("sweep", "sweeps/tiny", "--final")  # the folder is all that it takes
    assert said.code == 0 and [words[0] for words in commands[2:]] == ["eval"]
    final = read(folder / "final.json")
    assert (final["configuration"], final["values"], final["seeds"]) == (run.parent.name, {"optim.lr": 0.1}, [0])
    assert final["test"]["top1"] == [read(folder / "final" / "seed0" / "scores.json")["top1"]]
    assert f"test split, {run.parent.name}, n=1: loss " in said.out
    again = launch(*words, "--final")
    assert again.out.splitlines()[-1] == said.out.splitlines()[-1] and len(commands) == 3
    said = launch("report", "sweeps/tiny")
    assert said.code == 0 and said.out.count("lr=1e-06-") > 1 and "optim.lr" in said.out


def _holds(pid: str, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(Path(f"/proc/{pid}/fd", name).resolve() == path for name in os.listdir(f"/proc/{pid}/fd"))
    return False


def test_halving_stops_runs_and_what_goes_on_is_as_if_it_had_never_stopped(project, launch, commands):
    fields = ("--config.evaluate.every=2 steps", "--config.log_every=2 steps")
    said = launch("sweep", TINY, "--config.optim.lr=0.2,0.001", *fields, "--rungs=2 steps", "--eta=2")
    assert (said.code, said.err) == (0, "") and len(commands) == 3
    assert "stopped at rung 1 of 1, at 0." in said.out and "[0 finished] lr=0.2-" in said.out
    best, other = (next((project / "sweeps" / "tiny" / "runs").glob(f"lr={rate}-*/seed0")) for rate in (0.2, 0.001))
    assert [row["step"] for row in log.read(other)] == [2, 2] and not (other / "results.json").exists()
    assert checkpoint.newest_good(other / "checkpoints") == 2 and checkpoint.has_scores(other / "checkpoints")
    words = ("train", TINY, *fields, "--config.optim.lr=0.2", "--config.evaluate.test=never", "--workdir=whole")
    assert launch(*words).code == 0
    assert plain(log.read(best)) == plain(log.read(project / "whole"))
    assert plain(read(best / "results.json")) == plain(read(project / "whole" / "results.json"))
    words = ("train", TINY, *fields, "--config.optim.lr=0.001", "--config.evaluate.test=never", f"--workdir={other}")
    said = launch(*words, "--until=2 steps")
    assert said.code == 75 and said.err == f"{other} is at step 2, past --until=2 steps: leave that out to go on\n"
    said = launch(*words, "--config.data.validation=0", "--until=2 steps", "--workdir=none")
    assert said.code == 2 and "--until=2 steps stops at a validation: keep a split for it" in said.err
