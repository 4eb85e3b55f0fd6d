"""Experiment files: found, described from their docstring, and loaded into a typed configuration.

A file defines experiment(), or rows of a table as `cnn_jax.launch.paper` says, or both.
"""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn_jax.config import Experiment
from cnn_jax.devices import ask_for_huge_pages
from cnn_jax.launch import cli
from cnn_jax.launch.paper import Reproduction
from cnn_jax.lookup import did_you_mean, in_file, load_file
from cnn_jax.paths import printable, written

FOLDER, CONFIG = Path("experiments"), "config.json"
FULL_SCALE = "full_scale"  # the folder within it of what needs accelerators and data that do not come along
PACKAGE = Path(__file__).parents[1]
# Of this project: within the package where it is installed, beside it in the repository.
OWN = next(filter(Path.is_dir, (PACKAGE / FOLDER, PACKAGE.parent / FOLDER)), FOLDER)
LARGEST = 2**20  # bytes of an experiment's file
FIELDS = ("Reproduces", "Command", "Time", "Expected")
ROW = "reproduction"  # the function of a file whose one row is called like it


def experiment_files(*, within: str = "") -> list[Path]:
    """The experiments of the folder `experiments` here, then those of this project that are not in it by that name.

    within: the folder of it that is looked into.
    """
    found: dict[str, Path] = {}
    for path in (*sorted((FOLDER / within).glob("*.py")), *sorted((OWN / within).glob("*.py"))):
        if path.is_file() and path.stat().st_size <= LARGEST:  # no pipe, no device
            if re.search(rb"^def (experiment\(|\w+\(\) -> Reproduction:)", path.read_bytes(), re.MULTILINE):
                found.setdefault(path.name, path)
    return list(found.values())


def rows_in(path: Path) -> list[str]:
    """The functions of a file that return a row of a table, in order, found without running it."""
    found = re.findall(r"^def (\w+)\(\) -> Reproduction:", path.read_text("utf-8", "replace"), re.MULTILINE)
    return [name for name in found if not name.startswith("_")]


def word_for(path: Path) -> str:
    """What means an experiment on the command line: its path from here, or its name alone where it comes along."""
    return path.stem if path.parent in (OWN, OWN / FULL_SCALE) else str(path)


def word_for_row(path: Path, row: str) -> str:
    """What means a row of a file on the command line, the same from anywhere where the file is called by its name."""
    known = any(path.parent == folder / within for folder in (FOLDER, OWN) for within in ("", FULL_SCALE))
    file = path.stem if known else str(path)
    return file if row == ROW else f"{file.removesuffix('.py')}.{row}"


def described(path: Path) -> dict[str, str]:
    """Title and fields of an experiment's docstring, read without running the file.

    Raises ValueError where the file is no Python.
    """
    try:
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""  # bytes may say their own encoding
    except SyntaxError as error:
        raise ValueError(f"'{path}', line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, or brackets without end
        raise ValueError(f"'{path}' is no Python file: {error or 'too deep'}") from None
    title, _, rest = text.partition("\n")
    about = {"title": title.strip()}
    for name in FIELDS:
        found = re.search(rf"^{name}: (.*?)(?=^\w+: |\Z)", rest, re.MULTILINE | re.DOTALL)
        if found:
            about[name.lower()] = " ".join(found[1].split())
    return about


def find(word: str) -> Path | None:
    """The experiment file that a word on the command line means, or None: a path, or a name (`FOLDER` goes first).

    After a name or a path without its ending a row of the file may stand, as in `table.two_layers`.
    """
    name, row = _parted(word)
    named = [written(word)] if word.endswith(".py") else _places(word)
    named += [*_places(name), written(f"{name}.py")] if row else []
    return next(filter(Path.is_file, named), None)


def comes_along(word: str) -> bool:
    """Whether a word means the same experiment wherever this project is installed: it is the name of one of its own."""
    path, own = find(word), (OWN.resolve(), (OWN / FULL_SCALE).resolve())
    is_name = Path(word).name == word and not word.endswith(".py")
    return is_name and path is not None and path.resolve().parent in own


def _places(name: str) -> list[Path]:
    return [folder / within / f"{name}.py" for within in ("", FULL_SCALE) for folder in (FOLDER, OWN)]


def row_of(word: str) -> str:
    """The row that a word names after the name of its file, '' where it means the file."""
    return "" if word.endswith(".py") or any(map(Path.is_file, _places(word))) else _parted(word)[1]


def _parted(word: str) -> tuple[str, str]:
    """The name of a file, and that of a row in it, '' where there is none."""
    name, _, row = word.rpartition(".")
    is_row = bool(name) and row.isidentifier() and row != "py" and not written(word).exists()
    return (name, row) if is_row else (word, "")


def run_of(word: str) -> Path | None:
    """The run folder that a word on the command line means, or None; experiments of that name go first."""
    folder = written(word)
    return folder if find(word) is None and (folder / CONFIG).is_file() else None


def is_pictures(word: str) -> bool:
    """Whether a word on the command line means a folder, of one's own pictures: no experiment and no run."""
    return not word.startswith("-") and find(word) is None and run_of(word) is None and written(word).is_dir()


def load(word: str) -> tuple[Path, Experiment]:
    """The experiment in the file `word`, or of that name in the folder `experiments` here or of this project, or that
    of a run folder.

    Raises FileNotFoundError with the nearest name, or ValueError with the line for whatever goes wrong in the file.
    """
    if folder := run_of(word):
        from cnn_jax.train import run_folder  # JAX starts here, not for other words
        from cnn_jax.train.predictor import read_config

        config = read_config(folder)
        assert config is not None  # as the folder has one
        return folder / run_folder.SOURCE, config
    path = find(word)
    if path is None:
        if written(word).is_file():
            raise ValueError(
                f"'{printable(word)}' is a file, but no experiment (FILE.py): give a folder of class folders of "
                "pictures, as photos/"
            )
        near = did_you_mean(Path(word).stem, [file.stem for file in experiment_files()])
        raise FileNotFoundError(
            f"there is no experiment '{printable(word)}', and no such folder: {near} (launch.py list shows them)"
        )
    if row := row_of(word):
        return path, load_row(path, row)[0].experiment
    module = load_file(str(path))
    if not hasattr(module, "experiment"):
        if rows := rows_in(path):
            words = ", ".join(word_for_row(path, name) for name in rows)
            raise ValueError(f"'{path}' has {len(rows)} experiments, of which one is meant: {words}")
        raise ValueError(f"'{path}' defines no function experiment() that returns a cnn_jax.config.Experiment")
    config = _called(path, module.experiment)
    if not isinstance(config, Experiment):
        raise ValueError(f"experiment() of '{path}' returns {type(config).__name__}, not a cnn_jax.config.Experiment")
    return path, config


def load_row(path: Path, row: str) -> tuple[Reproduction, str]:
    """The row that a function of the file returns, which is run, and the first line of its docstring, or the file's.

    Raises ValueError, in one line, for whatever goes wrong in the file.
    """
    if row not in (known := rows_in(path)):
        raise ValueError(f"'{path}' has no function {row}() that returns a Reproduction: {did_you_mean(row, known)}")
    module = load_file(str(path))
    function = getattr(module, row)
    found = _called(path, function)
    if not isinstance(found, Reproduction):
        raise ValueError(f"{row}() of '{path}' returns {type(found).__name__}, not a cnn_jax.launch.paper.Reproduction")
    return found, (function.__doc__ or module.__doc__ or "").strip().partition("\n")[0]


def _called(path: Path, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        raise in_file(str(path), error) from error


def main() -> None:
    """What an experiment file does when it is run itself: the same as `launch.py train FILE`."""
    ask_for_huge_pages()
    sys.exit(cli.main(["train", sys.argv[0], *sys.argv[1:]]))
