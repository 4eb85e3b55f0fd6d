"""The frame of the command line: exit codes, one line for an error, one for a warning."""

import errno
import logging
import warnings
from pathlib import Path

import pytest
from absl import flags

from cnn_jax.launch import cli
from cnn_jax.train.checkpoint import CheckpointError
from cnn_jax.train.meter import Diverged
from cnn_jax.train.preempt import Preempted

ROOT = Path(__file__).parents[2]

CODES = [
    (ValueError("x"), 2, "x"),
    (ValueError("two\n  lines"), 2, "two   lines"),
    (ValueError(), 2, "ValueError"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"), 2, "'a.png': No such file or directory"),
    (PermissionError(errno.EACCES, "Permission denied", "run"), 2, "'run': Permission denied"),
    (ImportError("no module"), 2, "no module"),
    (flags.Error("bad flag"), 2, "bad flag"),
    (Diverged("nan"), 3, "nan"),
    (OSError(errno.ENOSPC, "No space left on device", "run/a"), 74, "'run/a': No space left on device"),
    (OSError(errno.ENAMETOOLONG, "too long", "a" * 5000), 2, f"'{'a' * 499} ... {'a' * 489}': too long"),
    (CheckpointError("not written"), 74, "not written"),
    (Preempted("stopped at step 3"), 75, "stopped at step 3"),
    (KeyboardInterrupt(), 130, "interrupted"),
]


@pytest.mark.parametrize(("error", "code", "says"), CODES, ids=lambda value: str(value)[:30])
def test_an_expected_error_is_one_line_and_its_code(error, code, says, monkeypatch, capsys):
    def run(arguments):
        raise error

    monkeypatch.setattr("cnn_jax.commands.list.run", run)
    assert cli.main(["list"]) == code
    # To be stopped is no error.
    assert capsys.readouterr() == ("", f"{'' if code in (75, 130) else 'error: '}{says}\n")


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), AssertionError(), RuntimeError("x")])
def test_a_bug_is_not_hidden(error, monkeypatch):
    def run(arguments):
        raise error

    monkeypatch.setattr("cnn_jax.commands.list.run", run)
    with pytest.raises(type(error)):
        cli.main(["list"])


def test_a_warning_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("cnn_jax.commands.list.run", lambda arguments: warnings.warn("two\nlines", stacklevel=1) or 0)
    assert cli.main(["list"]) == 0
    assert capsys.readouterr() == ("", "warning: two lines\n")


def test_the_code_of_the_command_is_returned(monkeypatch):
    monkeypatch.setattr("cnn_jax.commands.list.run", lambda arguments: len(arguments))
    assert cli.main(["list", "a", "b"]) == 2 and cli.main(["list"]) == 0


@pytest.mark.parametrize("debug", ["", "1"])
def test_what_orbax_logs_as_warnings_is_shown_for_debugging_only(debug, monkeypatch):
    logger, shown = logging.getLogger("absl"), []
    logger.setLevel(logging.NOTSET)
    monkeypatch.setenv(cli.DEBUG, debug)
    monkeypatch.setattr("cnn_jax.commands.list.run", lambda _: shown.append(logger.isEnabledFor(logging.WARNING)) or 0)
    assert cli.main(["list"]) == 0
    assert shown == [bool(debug)]


def test_control_characters_and_bytes_do_not_reach_the_terminal(monkeypatch, capsys):
    def run(arguments):
        warnings.warn("caf\udce9 \x1b[31m", stacklevel=1)
        raise ValueError("a\tb\x07 caf\udce9")

    monkeypatch.setattr("cnn_jax.commands.list.run", run)
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "warning: caf\\xe9 \ufffd[31m\nerror: a b\ufffd caf\\xe9\n"
