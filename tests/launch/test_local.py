"""The launcher, with small programs in the place of trainings."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_jax.launch import child, cli, local

BEGIN = """
import os, sys, signal, time
rank, again = int(os.environ["CNN_JAX_PROCESS"][0]), int(os.environ["CNN_JAX_LAUNCHED"])
def say(text): print(text, file=sys.stderr, flush=True)
def end(code): sys.stderr.flush(); os._exit(code)
def wait(): sys.stdin.read()
"""
Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a program in two processes; returns the exit code and the lines on stderr."""
    monkeypatch.setattr(local, "GRACE", 0.3)
    monkeypatch.setattr(local, "HELD", 0.3)

    def call(program: str, restarts: int = 0) -> tuple[int, list[str]]:
        monkeypatch.setattr(child, "CODE", BEGIN + program)
        capfd.readouterr()
        code = local.run(["x"], 2, restarts)
        return code, capfd.readouterr().err.splitlines()

    return call


def test_what_all_say_is_said_once_and_what_one_says_with_its_name(run: Run) -> None:
    assert run("say('error: no such file'); end(2)") == (2, ["error: no such file"])
    assert run("say('warning: a'); say('only here' if rank else 'warning: b')") == (
        0,
        ["warning: a", "warning: b", "process 1: only here"],
    )


def test_one_that_dies_ends_the_others(run: Run) -> None:
    code, (said,) = run("os.kill(os.getpid(), 9) if rank else wait()")
    assert code == 76 and said.startswith("error: process 1 was killed by SIGKILL: run the same command again to go on")
    # The other finds it out, and leaves: which of the two is seen to end first does not matter.
    code, (said,) = run("end(76) if rank == 0 else (time.sleep(0.1), os.kill(os.getpid(), 9))")
    assert code == 76 and "process 1 was killed by SIGKILL" in said
    # JAX aborts one because another has died.
    code, (said,) = run("(say('stack'), os.kill(os.getpid(), 6)) if rank else os.kill(os.getpid(), 15)")
    assert code == 76 and "process 0 was killed by SIGTERM" in said
    # One fails, and the other leaves with its exit code.
    assert run("end(2) if rank == 0 else (say('error: no step 25'), end(2))") == (2, ["process 1: error: no step 25"])
    assert run("say('process 0: x'); end(1) if rank == 0 else wait()") == (1, ["process 0: x"])


def test_all_start_again_as_often_as_asked(run: Run, tmp_path: Path) -> None:
    program = f"open({str(tmp_path)!r} + f'/{{again}}{{rank}}', 'w')\n"
    code, lines = run(
        program + "os.kill(os.getpid(), 9) if rank == 1 and again < 2 else wait() if again < 2 else end(0)", 3
    )
    again = "process 1 was killed by SIGKILL: all 2 start again from the newest checkpoint (restart {} of 3)"
    assert (code, lines) == (0, [again.format(1), again.format(2)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00", "01", "10", "11", "20", "21"]
    assert run("say('error: bad'); end(2)", 3) == (2, ["error: bad"])  # which no new start would mend


def test_a_signal_goes_to_all_and_nothing_starts_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started = local._start

    def start(*arguments: object) -> object:
        if arguments[2] == 1:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return started(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "_start", start)
    code, lines = run("signal.signal(15, lambda *_: (say('stopped at step 5'), end(75)))\nwhile True: time.sleep(9)", 3)
    assert (code, lines) == (cli.STOPPED, ["stopped at step 5"])


def test_gpus_divide_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "gpus", lambda: ["1", "3"])
    with pytest.raises(ValueError, match="--processes=3: 2 GPUs do not divide over 3 processes"):
        local.run(["x"], 3, 0)
