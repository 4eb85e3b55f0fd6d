"""The command line's frame: finds the verb, and turns every expected error into one line and an exit code.

Exit codes: 0 done, 2 wrong input, 3 training diverged, 4 a plan that does not fit, 74 a file could not be written, 75
stopped by a signal after saving (run the same command again to go on), 76 another process of the run died or hung, 130
interrupted before there was anything to save.
"""

import errno
import importlib
import keyword
import logging
import os
import pkgutil
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TextIO

from absl import flags

from cnn_jax import commands, compilation_cache
from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.launch.output import unbroken_output
from cnn_jax.lookup import did_you_mean
from cnn_jax.paths import printable

DEBUG = "CNN_JAX_DEBUG"  # environment variable: show tracebacks, and what the libraries log
LOG_OF_XLA = "TF_CPP_MIN_LOG_LEVEL"  # 3: only what ends the process
UNNAMEABLE = (errno.ENAMETOOLONG, errno.ELOOP)  # what no file can be called
LINE = 1000  # characters of a message at most: beyond it the middle is left out
CHECKPOINT = "last, best (by validation) or a step; by default that which results.json scored"  # help of --checkpoint
BAD_INPUT, NOT_WRITTEN, STOPPED, INTERRUPTED = 2, 74, 75, 130  # 3 and 75 stand with the exceptions that mean them


class UsageError(ValueError):
    """The words of a command are wrong."""


def verbs() -> list[str]:
    """Names of the commands: every module of cnn_jax.commands is one."""
    return [info.name.removesuffix("_") for info in pkgutil.iter_modules(commands.__path__)]


def console() -> int:
    """What `python launch.py` and the installed command `cnn_jax` do; it may start the process again, see `devices`."""
    ask_for_huge_pages()
    return main()


def as_called(text: str) -> str:
    """A text that names commands of `python launch.py`, as commands of `cnn_jax` where that is what was called."""
    installed = Path(sys.argv[0]).stem in ("cnn_jax", "cnn_jax-script")  # the latter on Windows
    return re.sub(r"(python )?\blaunch\.py\b", "cnn_jax", text) if installed else text


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every error ends as one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_libraries()
    return one_line_errors(lambda: _run(words[0] if words else "", words[1:]))


def prepare_libraries() -> None:
    """How the libraries below compute and what they log; call it before jax is imported."""
    set_xla_flags()
    if not os.environ.get(DEBUG):
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs its housekeeping as warnings
        os.environ.setdefault(LOG_OF_XLA, "3")  # XLA asks on stderr for a bug report where a compilation takes minutes


def _run(verb: str, arguments: list[str]) -> int:
    if verb in ("", "--help", "-h", "help"):
        print(_usage())
        return 0 if verb else BAD_INPUT
    if verb not in verbs():
        raise UsageError(f"unknown command '{verb}': {did_you_mean(verb, verbs())}")
    compilation_cache.turn_on()
    return importlib.import_module(f"cnn_jax.commands.{_file(verb)}").run(arguments)


def one_line_errors(work: Callable[[], int]) -> int:
    """The exit code that `work` returns, or that of the expected error that it raises; a bug is raised again.

    An error is one line on stderr, after its traceback where $CNN_JAX_DEBUG is set; a warning is one line too. That the
    output cannot be written stops nothing: where its reader has gone that is all, else it is the error of work that
    went well.
    """
    warnings.showwarning = _show_warning
    with unbroken_output() as output:
        code = _worked(work)
        output.flush()
        if output.lost and code == 0:
            return _fail(f"the output could not be written: {output.lost.strerror}", NOT_WRITTEN)
        return code


def _worked(work: Callable[[], int]) -> int:
    try:
        return work()
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return _fail(error, code)


def exit_code(error: Exception) -> int | None:
    """The documented exit code of an expected error, None for a bug."""
    if hasattr(error, "exit_code"):
        return error.exit_code
    if isinstance(
        error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError
    ):
        return BAD_INPUT
    if isinstance(error, OSError):
        return BAD_INPUT if error.errno in UNNAMEABLE else NOT_WRITTEN
    return BAD_INPUT if isinstance(error, ValueError | flags.Error | ImportError) else None


def parse(verb: str, values: flags.FlagValues, arguments: list[str], *, words: int | None = None) -> list[str]:
    """Parses flags and returns the words that are none. Raises UsageError unless there are `words` of them."""
    try:
        left = values([verb, *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        raise UsageError(f"unknown flag '--{error.flagname}': {_suggestion(error.flagname, values, verb)}") from None
    if words is not None and len(left) != words:
        extra = f"leftover words '{' '.join(left[words:])}'" if len(left) > words else "a word is missing"
        raise UsageError(f"{extra}: see launch.py {verb} --help")
    return left


def _suggestion(name: str, values: flags.FlagValues, verb: str) -> str:
    near = did_you_mean(name, [f"--{known}" for known in values])
    return near if near.startswith("did") else f"see launch.py {verb} --help"


def wants_help(arguments: list[str]) -> bool:
    """Whether the user asks for help rather than for work."""
    return any(word in ("--help", "-h", "--helpfull") for word in arguments)


def help_text(module: ModuleType, values: flags.FlagValues) -> str:
    """A verb's docstring and its flags, with the form of their values."""
    lines = [(module.__doc__ or "").strip(), *(["", "Flags:"] if len(values) else [])]
    for name in sorted(values):
        flag = values[name]
        default = "" if flag.value in (None, "", False) else f"default: {flag.value}"
        said = "; ".join(filter(None, (flag.parser.syntactic_help, default)))
        lines.append(f"  --{name}: {flag.help}{f' ({said})' if said else ''}")
    return as_called("\n".join(lines))


def _file(verb: str) -> str:
    """The name of a verb's module: import is a word of Python, so its file is import_.py."""
    return f"{verb}_" if keyword.iskeyword(verb) else verb


def _usage() -> str:
    lines = ["Convolutional neural networks on JAX.", "", "python launch.py COMMAND [--help]", ""]
    for verb in verbs():
        lines.append(f"  {verb:10} {_first_line(verb)}")
    lines += ["", "Begin with: python launch.py train digits"]
    return as_called("\n".join(lines))


def _first_line(verb: str) -> str:
    # Read, not imported: the list of commands must not wait for JAX.
    with open(os.path.join(commands.__path__[0], f"{_file(verb)}.py"), encoding="utf-8") as file:
        return file.readline().strip().strip('"')


def _fail(error: object, code: int) -> int:
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"'{error.filename}': {error.strerror}"
    # What was asked for is no error: a signal came, and the run is saved.
    begin = "" if code in (STOPPED, INTERRUPTED) else "error: "
    print(f"{begin}{_line(text)}", file=sys.stderr)
    return code


def _line(text: str) -> str:
    line = printable(as_called(" ".join(text.splitlines())))
    return line if len(line) <= LINE else f"{line[: LINE // 2]} ... {line[-LINE // 2 :]}"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = _line(str(message))
    if compilation_cache.is_news(text):
        print(f"warning: {text}", file=sys.stderr)
