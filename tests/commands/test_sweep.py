"""Sweeps of a tiny experiment on digits, and one whose driver is killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnn_jax.launch import cli
from cnn_jax.report import log
from cnn_jax.sweep import process
from tests.commands.test_going_on import plain

TINY = "experiments/tiny.py"
ROOT = Path(__file__).parents[2]


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


def test_the_best_by_validation_is_scored_on_the_test_split_once(project, launch, commands):
    words = ("sweep", TINY, "--config.optim.lr=0.001,0.2", "--seeds=0:2", "--config.data.batch_size=32")
    said = launch(*words)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == "sweep of tiny in sweeps/tiny: 2 configurations x 2 seeds, 1 at a time"
    folder = project / "sweeps" / "tiny"
    results = {path.parent.parent.name: read(path) for path in folder.glob("runs/*/*/results.json")}
    assert len(commands) == 4 and all(result["test"] is None for result in results.values())
    best = next(name for name in results if name.startswith("lr=0.2-"))
    top1 = [read(folder / "runs" / best / f"seed{seed}" / "results.json")["validation"]["top1"] for seed in (0, 1)]
    assert f"{sum(top1) / 2:.4f} ± " in said.out and f"best by validation: {best} (sweeps/tiny/runs/" in said.out
    assert not (folder / "final.json").exists()

    said = launch("sweep", "sweeps/tiny", "--final")  # the folder is all that it takes
    assert said.code == 0 and [words[0] for words in commands[4:]] == ["eval", "eval"]
    final = read(folder / "final.json")
    assert final["configuration"] == best and final["values"] == {"optim.lr": 0.2} and final["seeds"] == [0, 1]
    assert final["test"]["top1"] == [read(folder / "final" / f"seed{n}" / "scores.json")["top1"] for n in (0, 1)]
    assert f"test split, {best}, n=2: loss " in said.out
    again = launch(*words, "--final")
    assert again.out.splitlines()[-1] == said.out.splitlines()[-1] and len(commands) == 6

    said = launch("report", "sweeps/tiny")
    assert said.code == 0 and "±: standard deviation over n seeds" in said.out and "optim.lr" in said.out


def test_halving_stops_runs_and_what_goes_on_is_as_if_it_had_never_stopped(project, launch, commands):
    fields = ("--config.evaluate.every=2 steps", "--config.log_every=2 steps")
    said = launch("sweep", TINY, "--config.optim.lr=0.2,0.001", *fields, "--rungs=2 steps", "--eta=2")
    assert (said.code, said.err) == (0, "") and len(commands) == 3
    assert "stopped at rung 1 of 1" in said.out and "[0 finished] lr=0.2-" in said.out
    best, other = (next((project / "sweeps" / "tiny" / "runs").glob(f"lr={rate}-*/seed0")) for rate in (0.2, 0.001))
    assert [row["step"] for row in log.read(other)] == [2, 2] and not (other / "results.json").exists()
    words = ("train", TINY, *fields, "--config.optim.lr=0.2", "--config.evaluate.test=never", "--workdir=whole")
    assert launch(*words).code == 0
    assert plain(log.read(best)) == plain(log.read(project / "whole"))
    assert plain(read(best / "results.json")) == plain(read(project / "whole" / "results.json"))
    words = ("train", TINY, *fields, "--config.optim.lr=0.001", "--config.evaluate.test=never", f"--workdir={other}")
    said = launch(*words, "--until=2 steps")
    assert said.code == 75 and said.err == f"{other} is at step 2, past --until=2 steps: leave that out to go on\n"
    said = launch(*words, "--config.data.validation=0", "--until=2 steps", "--workdir=none")
    assert said.code == 2 and "--until=2 steps stops at a validation: keep a split for it" in said.err


def test_a_sweep_whose_driver_is_killed_goes_on(project, launch, commands):
    words = ["sweep", TINY, "--config.optim.lr=0.1,0.2", "--config.duration=2000 steps", "--config.save_every=5 steps"]
    command = [sys.executable, str(ROOT / "launch.py"), *words]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    runs = project / "sweeps" / "tiny" / "runs"
    first: list[Path] = []
    end = time.monotonic() + 120
    while not first and time.monotonic() < end and driver.poll() is None:
        first = list(runs.glob("*/seed0/checkpoints/*.sha256"))
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    run = first[0].parents[1]
    lock = run.parent / "seed0.lock"
    assert process.claimed(lock) is None  # the training does not know, and goes on
    holders = [pid for pid in filter(str.isdecimal, os.listdir("/proc")) if _holds(pid, lock)]
    for pid in holders:  # it is killed, too
        os.kill(int(pid), signal.SIGKILL)
    while process.claimed(lock) is None:
        time.sleep(0.01)
    assert not (run / "results.json").exists()
    said = launch(*words)
    assert said.code == 0 and len(commands) == 2
    assert "going on from step" in (run.parent / "seed0.log").read_text()
    assert len(list(runs.glob("*/seed0/results.json"))) == 2 and "[2/2] lr=0.2-" in said.out
    assert [row["step"] for row in log.read(run) if row["split"] == "train"] == list(range(2, 2001, 2))


def _holds(pid: str, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(Path(f"/proc/{pid}/fd", name).resolve() == path for name in os.listdir(f"/proc/{pid}/fd"))
    return False
