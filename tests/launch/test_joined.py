"""What a process of several says when it ends."""

import threading

import pytest

from cnn_jax import processes
from cnn_jax.launch import joined
from cnn_jax.processes.line import GONE, LOST, Ended, Line


class Left(Exception):
    """In the place of the end of this process."""


@pytest.fixture(autouse=True)
def of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.delenv(joined.LAUNCHED, raising=False)
    monkeypatch.setattr(joined, "_exit", leave)
    monkeypatch.setattr(joined, "_last_words", threading.Lock())
    monkeypatch.setattr(processes, "_line", Line(1, 2, joined._leave))


def test_that_another_has_ended_is_said_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Left, match="2"):
        joined._leave(Ended(0, 2, "no such file"))
    assert capsys.readouterr().err == "error: process 0: no such file\n"


def test_the_launcher_says_which_was_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(joined.LAUNCHED, "0")
    with pytest.raises(Left, match=str(LOST)):
        joined._leave(Ended(0, LOST, GONE.format(0)))
    assert capsys.readouterr().err == ""


def test_one_that_says_its_own_error_does_not_say_another(capsys: pytest.CaptureFixture[str]) -> None:
    with joined._last_words:
        joined._leave(Ended(0, 2, "process 1 has another configuration"))
    assert capsys.readouterr().err == ""
