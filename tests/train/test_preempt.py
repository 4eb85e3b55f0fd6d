"""Signals as a request to stop."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from cnn_jax.train import preempt
from cnn_jax.train.preempt import SIGNALS, Preempted, stop_requested


@pytest.fixture(autouse=True)
def none_is_ignored() -> Iterator[None]:
    """As SIGHUP is where the tests run under nohup, and SIGINT where a shell has put them into the background."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_once_and_then_acts_as_before(number: signal.Signals) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda number, frame: seen.append(number))
    try:
        with stop_requested() as stop, stop.held():
            assert not stop.asked
            os.kill(os.getpid(), number)
            assert stop.asked and seen == []
            os.kill(os.getpid(), number)
            assert seen == [number]
        os.kill(os.getpid(), number)
        assert seen == [number, number]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_where_nothing_is_to_be_saved_it_ends_at_once(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(Preempted), stop_requested():
        os.kill(os.getpid(), number)
        time.sleep(30)
    assert ended == [75] and capsys.readouterr().err == f"{preempt.SAID}\n"


def test_what_was_noted_raises_where_the_loop_waits() -> None:
    with pytest.raises(Preempted), stop_requested() as stop, stop.held():
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.waiting():
            raise AssertionError("it goes on")


def test_code_that_is_no_python_is_ended_where_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in XLA's compiler, from which the main thread does not come back to handle the signal."""
    ended: list[int] = []
    monkeypatch.setattr(preempt, "PATIENCE", 0.01)
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(preempt.Stop, "note", lambda stop: None)  # the main thread handles nothing
    with stop_requested() as stop:
        with stop.held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            assert ended == []
        os.kill(os.getpid(), signal.SIGHUP)
        while not ended:
            time.sleep(0.01)
    assert ended == [75] and capsys.readouterr().err == f"{preempt.SAID}\n"


def test_an_ignored_signal_stays_ignored() -> None:
    """As SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requested() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(RuntimeError), stop_requested():
        raise RuntimeError
    assert [signal.getsignal(number) for number in SIGNALS] == before
