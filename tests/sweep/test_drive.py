"""What a sweep starts, says and survives, with trainings that take no time."""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cnn_jax.launch import child
from cnn_jax.sweep import drive, outcome, process, tpe
from cnn_jax.sweep import folder as folders
from cnn_jax.sweep.board import Board
from cnn_jax.sweep.folder import GRID, TPE, Sweep
from cnn_jax.train import run_folder
from cnn_jax.train.preempt import Preempted

TRAINER = Path(__file__).with_name("trainer.py")


@pytest.fixture(autouse=True)
def trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "CODE", f"exec(compile(open({str(TRAINER)!r}).read(), 'trainer', 'exec'))")
    monkeypatch.setattr(run_folder, "newest_about", lambda folder: {"criterion": ["top1", 1]})


def sweep_of(
    folder: Path, rates: str, seeds: tuple[int, ...] = (0,), rungs: tuple[str, ...] = (), eta: int = 3
) -> Sweep:
    experiment = folder / "mine.py"
    folder.mkdir(exist_ok=True)
    experiment.write_text("")
    made = Sweep("mine", folders.digest_of(experiment), {}, {"optim.lr": rates}, GRID, 0, seeds, rungs, 3)
    folders.write(folder / "sweep", made, experiment)
    return made


def starts(folder: Path) -> dict[str, int]:
    """How often each run was started, by learning rate and seed."""
    return {
        f"{path.parent.name.partition('-')[0]} {path.stem}": len(path.read_text().splitlines())
        for path in sorted(folder.glob("sweep/runs/*/*.starts"))
    }


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


def in_another_process(work: Callable[[], object]) -> int:
    """The id of a copy of this process that does the work; it exits with 75 where that is stopped."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except Preempted:
            code = Preempted.exit_code
        finally:
            os._exit(code)
    return child


def test_each_run_is_trained_once_and_a_second_start_trains_nothing(tmp_path, capsys):
    sweep, folder = sweep_of(tmp_path, "0.1,0.3,0.2", seeds=(0, 1)), tmp_path / "sweep"
    board = drive.drive(folder, sweep, 2, go_on=True)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 6 and said[-1].startswith("[6/6] lr=") and said[-1].endswith(", 2 s")
    assert any("lr=0.3-" in line and "seed 1: validation top1 0.4000, 2 s" in line for line in said)
    lines = outcome.lines(board)
    assert [line.split("-")[0] for line in lines[1:4]] == ["lr=0.3", "lr=0.2", "lr=0.1"]
    assert "0.3500 ± 0.0707" in lines[1] and lines[-1].startswith("best by validation: lr=0.3-")
    assert lines[-1].endswith(f"({folder}/runs/{board.trials[1].name})")
    drive.drive(folder, sweep, 2, go_on=True)
    assert capsys.readouterr().out == "6 of 6 runs are finished\n" and set(starts(tmp_path).values()) == {1}
    more = sweep._replace(seeds=(0, 1, 2))  # may be added
    drive.drive(folder, more, 2, go_on=True)
    assert len(starts(tmp_path)) == 9 and set(starts(tmp_path).values()) == {1}
    words = (folder / "runs" / board.trials[0].name / "seed2.log").read_text()
    assert words.startswith("--- ") and " launch.py train " in words and "--config.optim.lr=0.1" in words


def test_the_test_split_is_read_for_one_configuration_alone(tmp_path):
    sweep, folder = sweep_of(tmp_path, "0.1,0.3", seeds=(0, 1)), tmp_path / "sweep"
    board = drive.drive(folder, sweep, 1, go_on=True)
    best, other = board.trials[1], board.trials[0]
    (line,) = outcome.final(board)
    assert line == f"test split, {best.name}, n=2: top1 0.5000 ± 0.0000 ({folder}/final.json)"
    for seed in (0, 1):
        board.runs[other.name, seed] = board.runs[other.name, seed]._replace(scores=(0.9,))
    said = outcome.final(board)
    assert said[0].startswith(f"by validation {other.name} is the best now, but the test split has been read")
    assert said[1] == line
    kept = json.loads((folder / "final.json").read_text())
    (folder / "final.json").write_text(json.dumps({**kept, "test": None}))  # killed before it was scored
    shutil.rmtree(folder / "final")
    assert outcome.final(board) == said and json.loads((folder / "final.json").read_text()) == kept
    assert " eval " in (folder / "final" / "seed1.log").read_text() and best.name in str(kept)


def test_a_failure_is_said_at_once_by_name_and_the_others_go_on(tmp_path, capsys):
    sweep, folder = sweep_of(tmp_path, "0.1,30,20,0.2"), tmp_path / "sweep"
    board = drive.drive(folder, sweep, 1, go_on=True)
    out, err = capsys.readouterr()
    diverged, killed = err.splitlines()
    names = [trial.name for trial in board.trials]
    assert diverged == (
        f"failed: {names[1]} seed 0: the loss was nan or inf for 10 steps in a row (exit code 3; "
        f"{folder}/runs/{names[1]}/seed0.log has more)"
    )
    assert killed.startswith(f"failed: {names[2]} seed 0: step 3 (killed by SIGKILL, as where memory runs out; ")
    assert out.count("\n") == 2 and [run.code for run in board.runs.values()] == [0, 3, -9, 0]
    assert sum("failed: the loss was nan" in line for line in outcome.lines(board)) == 1
    drive.drive(folder, sweep, 1, go_on=True)  # what diverged would do so again
    assert list(starts(tmp_path).values()) == [1, 1, 2, 1]
    (name,) = {path.name for path in folder.glob("runs/*/*.failed.json") if "lr=30" in str(path)}
    assert name == "seed0.failed.json"


def test_a_failure_stops_the_others_where_that_is_asked(tmp_path, capsys):
    sweep, folder = sweep_of(tmp_path, "7,30,0.1"), tmp_path / "sweep"
    board = drive.drive(folder, sweep, 2, go_on=False)
    assert starts(tmp_path) == {"lr=30.0 seed0": 1, "lr=7.0 seed0": 1}  # it waits, and was told to stop
    assert "failed: lr=30" in capsys.readouterr().err and not board.busy
    assert "not finished" in " ".join(outcome.lines(board))


def test_no_more_at_a_time_than_jobs(tmp_path):
    sweep, folder = sweep_of(tmp_path, "7,8,0.1"), tmp_path / "sweep"
    other = in_another_process(lambda: drive.drive(folder, sweep, 2, go_on=True))
    until(lambda: len(starts(tmp_path)) == 2)
    with pytest.raises(ValueError, match="another process runs the sweep in"):
        drive.drive(folder, sweep, 2, go_on=True)
    assert len(starts(tmp_path)) == 2
    (folder / "go").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0 and len(starts(tmp_path)) == 3


@pytest.mark.parametrize("kill_run", [False, True])
def test_a_killed_sweep_goes_on_and_trains_no_run_twice(tmp_path, capsys, kill_run):
    sweep, folder = sweep_of(tmp_path, "0.1,7,0.2"), tmp_path / "sweep"
    other = in_another_process(lambda: drive.drive(folder, sweep, 1, go_on=True))
    until(lambda: len(starts(tmp_path)) == 2)
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    (path,) = folder.glob("runs/lr=7.0-*/seed0.starts")
    until(lambda: path.read_text().endswith("\n"))
    if kill_run:
        os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
        until(lambda: process.claimed(path.with_suffix(".lock")))
        (folder / "go").touch()
    else:
        assert process.claimed(path.with_suffix(".lock")) is None
        threading.Timer(0.3, (folder / "go").touch).start()
    capsys.readouterr()
    board = drive.drive(folder, sweep, 1, go_on=True)
    assert all(run.seconds for run in board.runs.values())
    assert starts(tmp_path) == {"lr=0.1 seed0": 1, "lr=0.2 seed0": 1, "lr=7.0 seed0": 2 if kill_run else 1}
    said = capsys.readouterr().out
    assert said.startswith("1 of 3 runs are finished\n")
    assert ("lr=7" in said.splitlines()[1] and "is still being trained since an earlier start" in said) != kill_run


def test_twenty_kills(tmp_path, capsys):
    """Of the sweep, and of a run now and then, at any moment."""
    draw, folder = random.Random(0), tmp_path / "sweep"
    sweep = sweep_of(tmp_path, ",".join(f"0.{n}" for n in range(1, 9)), seeds=(0, 1))
    for _ in range(20):
        other = in_another_process(lambda: drive.drive(folder, sweep, 2, go_on=True))
        time.sleep(draw.uniform(0, 0.2))
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
        pids = [path.read_text().split()[-1:] for path in folder.glob("runs/*/*.starts")]
        alive = [pid for (pid,) in filter(None, pids) if str(tmp_path) in command_of(pid)]
        if alive and draw.random() < 0.5:
            os.kill(int(draw.choice(alive)), signal.SIGKILL)
    board = drive.drive(folder, sweep, 2, go_on=True)
    assert all(run.seconds for run in board.runs.values()) and len(board.runs) == 16
    assert not list(folder.glob("runs/*/*.failed.json")) and capsys.readouterr().err == ""


def command_of(pid: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_a_signal_stops_all_saved(tmp_path):
    sweep, folder = sweep_of(tmp_path, "7,8,0.1"), tmp_path / "sweep"
    other = in_another_process(lambda: drive.drive(folder, sweep, 2, go_on=True))
    until(lambda: len(starts(tmp_path)) == 2)
    os.kill(other, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 75
    for path in folder.glob("runs/*/*.lock"):
        assert process.claimed(path)  # nobody trains
    board = Board(folder, sweep)
    assert len(starts(tmp_path)) == 2 and not any(run.failed for run in board.runs.values())


def test_halving_trains_each_run_as_far_as_it_goes_on(tmp_path, capsys):
    rates = ",".join(f"0.{n}" for n in range(9, 0, -1))
    sweep, folder = sweep_of(tmp_path, rates, rungs=("20 steps", "50 steps")), tmp_path / "sweep"
    board = drive.drive(folder, sweep, 1, go_on=True)
    reached = [len(run.scores) for run in board.runs.values()]
    # One at a time: after three the best goes on, to the end when three have come to the second rung.
    assert reached == [3, 2, 2, 1, 1, 1, 1, 1, 1]
    assert [run.step for run in board.runs.values()][:4] == [100, 50, 50, 20]
    assert list(starts(tmp_path).values()) == reached[::-1]  # each goes on from where it stopped
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("[0 finished] lr=0.9-") and "validation top1 0.9200, rung 1 of 2, step 20" in said[0]
    assert said[-1].startswith("[1 finished] lr=0.9-") and said[-1].endswith("2 s")
    lines = outcome.lines(board)
    assert lines[1].startswith("lr=0.9-") and "stopped at rung 2 of 2, at 0.8500" in lines[2]
    drive.drive(folder, sweep, 1, go_on=True)
    assert capsys.readouterr().out == "1 of 9 runs are finished\n"


def test_what_is_proposed_is_written_down_and_not_proposed_again(tmp_path, monkeypatch):
    proposals = iter([{"optim.lr": 0.1}, {"optim.lr": 30.0}, {"optim.lr": 0.2}, None])
    seen = []

    def proposed(axes, tried):
        seen.append([one.values["optim.lr"] for one in tried])
        return next(proposals)

    monkeypatch.setattr(tpe, "proposed", proposed)
    monkeypatch.setattr(tpe, "write_journal", lambda *_: None)
    sweep, folder = sweep_of(tmp_path, "0..1")._replace(method=TPE, trials=2), tmp_path / "sweep"
    drive.drive(folder, sweep, 1, go_on=True)
    with pytest.warns(UserWarning, match="TPE proposes nothing new after 3 of 5 configurations"):
        board = drive.drive(folder, sweep._replace(trials=5), 1, go_on=True)
    assert seen == [[], [0.1], [0.1, 30.0], [0.1, 30.0, 0.2]] and set(starts(tmp_path).values()) == {1}
    assert [trial.values["optim.lr"] for trial in board.trials] == [0.1, 30.0, 0.2]


def test_a_run_that_is_stopped_from_outside_goes_on_but_not_for_ever(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(child, "CODE", "import sys; sys.exit(75)")
    sweep, folder = sweep_of(tmp_path, "0.1,0.2"), tmp_path / "sweep"
    board = drive.drive(folder, sweep, 1, go_on=True)
    out, err = capsys.readouterr()
    assert out.count("was stopped, saved: it goes on") == 6 and err.count("it printed nothing (exit code 75") == 2
    assert [run.code for run in board.runs.values()] == [75, 75]
