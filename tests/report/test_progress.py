"""The progress display, with a clock that the test turns."""

import io
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cnn_jax.report import progress as module
from cnn_jax.report.progress import progress


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Unread:
    """A metric that must not be looked at."""

    def __float__(self) -> float:
        raise AssertionError("a metric was fetched though nothing was drawn")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def run(
    console: Console, clock: Clock, steps: range, seconds: float = 0.125, total: int = 1000, units: str = "images"
) -> None:
    with progress(total, steps.start - 1, 50, 32, units, console) as (show, _):
        clock.now += 60  # compilation
        for step in steps:
            show(step, {"loss": 2 / step, "top1": 0.5} if step % 10 == 0 else {})
            clock.now += seconds


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds(clock: Clock) -> None:
    file = io.StringIO()
    run(Console(file=file, width=20), clock, range(1, 351))
    lines = file.getvalue().splitlines()
    assert "\x1b" not in file.getvalue()
    assert [line.split("  ")[0] for line in lines] == [f"step {k}/1000" for k in (1, 81, 161, 241, 321, 350)]
    assert lines[0] == "step 1/1000  epoch 0.02"  # no rate can be known yet
    # 8 steps of 32 images a second: the minute of compilation does not count. 839 steps are left.
    assert lines[2] == "step 161/1000  epoch 3.22  loss 0.0125  top1 0.5  256 images/s  0:01:45 left"


def test_a_resumed_run_counts_only_its_own_steps(clock: Clock) -> None:
    file = io.StringIO()
    run(Console(file=file), clock, range(901, 1001))
    assert "step 1000/1000  epoch 20.00" in file.getvalue()
    assert "256 images/s  0:00:00 left" in file.getvalue().splitlines()[-1]


def test_examples_are_called_what_the_data_calls_them(clock: Clock) -> None:
    file = io.StringIO()
    run(Console(file=file), clock, range(1, 101), units="clips")
    assert "  256 clips/s  " in file.getvalue().splitlines()[-1] and "images" not in file.getvalue()
    file = io.StringIO()
    run(Console(file=file), clock, range(1, 11), seconds=20, units="texts")
    assert "  1.60 texts/s  " in file.getvalue().splitlines()[-1]


def test_metrics_are_fetched_only_when_drawn(clock: Clock) -> None:
    file = io.StringIO()
    with progress(100, 0, 10, 8, console=Console(file=file)) as (show, _):
        show(1, {})
        show(2, {"loss": Unread()})
        show(3, {"loss": 0.25})
    assert file.getvalue().splitlines()[-1].startswith("step 3/100  epoch 0.30  loss 0.25")


def test_what_was_last_shown_is_drawn_even_when_training_breaks(clock: Clock) -> None:
    file = io.StringIO()
    with pytest.raises(RuntimeError), progress(100, 0, 10, 8, console=Console(file=file)) as (show, _):
        show(1, {})
        show(7, {"loss": float("nan")})
        raise RuntimeError
    assert file.getvalue().splitlines()[-1].startswith("step 7/100  epoch 0.70  loss nan")


def test_nothing_shown_nothing_printed(clock: Clock) -> None:
    file = io.StringIO()
    with progress(5, 5, 10, 8, console=Console(file=file)):
        pass
    assert file.getvalue() == ""


@pytest.mark.parametrize("no_color", [False, True])
def test_on_a_terminal_there_is_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    file = Terminal()
    run(Console(file=file, width=100), clock, range(1, 51), seconds=1 / 16, total=50)
    text = file.getvalue()
    assert "compiling the first step" in text
    assert "step 50/50  epoch 1.00  loss 0.04  top1 0.5  512 images/s  0:00:00 left" in text
    assert "━" * 96 in text and "━" * 97 not in text
    assert text.count("epoch") < 25  # 5 draws a second of the 50 steps in 3 seconds
    colours = "\x1b[38" in text or "\x1b[9" in text
    assert colours is not no_color


def test_a_line_never_wraps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    metrics = {name: 0.123 for name in ("loss", "top1", "auxiliary", "consistency")}
    shown = {}
    for width in (200, 80, 60, 30, 10):
        file = Terminal()
        with progress(1000, 0, 50, 32, console=Console(file=file, width=width, color_system=None)) as (show, _):
            show(1, metrics)
            clock.now += 10
            show(11, metrics)
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n").splitlines()
        assert max(map(len, lines)) <= width
        shown[width] = lines[-2]
    every = "step 11/1000  epoch 0.22  loss 0.123  top1 0.123  auxiliary 0.123  consistency 0.123"
    assert shown[200] == f"{every}  32 examples/s  0:16:29 left"
    assert shown[80] == "step 11/1000  loss 0.123  top1 0.123  auxiliary 0.123  0:16:29 left"
    assert shown[60] == "step 11/1000  loss 0.123  top1 0.123  0:16:29 left"
    assert shown[30] == "step 11/1000  0:16:29 left"


VALIDATION = ["validation  step 12", "epoch 0.24", "loss 0.1234", "top1 0.9312", "patience 1 of 3"]


def test_a_line_that_stays_stands_above_the_bar_and_fits(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = {}
    for width in (80, 66, 54, 30):
        file = Terminal()
        with progress(1000, 0, 50, 32, console=Console(file=file, width=width, color_system=None)) as (show, say):
            show(1, {})
            say(VALIDATION, marked=True)
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n").splitlines()
        (shown[width],) = [line for line in lines if line.startswith("validation")]
        assert lines.index(shown[width]) < len(lines) - 2 and lines[-2].startswith("step 1/1000")
    assert shown[80] == "  ".join(VALIDATION)
    assert shown[66] == "  ".join(VALIDATION[:1] + VALIDATION[2:])
    assert shown[54] == "  ".join(VALIDATION[:1] + VALIDATION[3:])
    assert len(shown[30]) == 30 and shown[30].endswith("…")


def test_without_a_terminal_it_is_a_whole_line(clock: Clock) -> None:
    file = io.StringIO()
    with progress(1000, 0, 50, 32, console=Console(file=file, width=20)) as (_, say):
        say(VALIDATION, marked=True)
    assert file.getvalue() == "  ".join(VALIDATION) + "\n"


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_cannot_move_the_cursor_gets_lines(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    file = Terminal()
    run(Console(file=file), clock, range(1, 4))
    assert "\x1b" not in file.getvalue()
    assert len(file.getvalue().splitlines()) == 2


def test_a_log_file_gets_lines_even_if_colour_is_forced(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    run(Console(file=file), clock, range(1, 4))
    assert "\x1b" not in file.getvalue()


def test_a_call_with_nothing_to_draw_costs_microseconds() -> None:
    metrics: dict[str, Any] = {"loss": 0.5, "top1": 0.5}
    with progress(10**6, 0, 50, 8, console=Console(file=io.StringIO())) as (show, _):
        show(1, metrics)
        start = time.perf_counter()
        for step in range(2, 2002):
            show(step, metrics)
        assert (time.perf_counter() - start) / 2000 < 20e-6
