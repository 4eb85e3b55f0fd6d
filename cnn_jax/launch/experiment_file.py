"""Experiment files: found, described from their docstring, and loaded into a typed configuration."""

import ast
import re
import sys
from pathlib import Path

from cnn_jax.config import Experiment
from cnn_jax.devices import ask_for_huge_pages
from cnn_jax.launch import cli
from cnn_jax.lookup import did_you_mean, in_file, load_file
from cnn_jax.paths import printable, written

FOLDER = Path("experiments")
LARGEST = 2**20  # bytes of an experiment's file
FIELDS = ("Reproduces", "Command", "Time", "Expected")


def experiment_files() -> list[Path]:
    """The experiments of the folder `experiments`: files that define a function `experiment`."""
    files = sorted(FOLDER.glob("*.py"))
    if not files:
        raise FileNotFoundError(
            f"there are no experiments in '{FOLDER.absolute()}': they come with the repository of cnn_jax, not with "
            "the installed package: go to its folder, or train a file of your own (launch.py train FILE.py)"
        )
    read = [path for path in files if path.is_file() and path.stat().st_size <= LARGEST]  # no pipe, no device
    return [path for path in read if re.search(rb"^def experiment\(", path.read_bytes(), re.MULTILINE)]


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
    """The experiment file that a word on the command line means, or None."""
    path = written(word) if word.endswith(".py") else FOLDER / f"{word}.py"
    return path if path.is_file() else None


def is_pictures(word: str) -> bool:
    """Whether a word on the command line means a folder, of one's own pictures, and no experiment."""
    return not word.startswith("-") and find(word) is None and written(word).is_dir()


def load(word: str) -> tuple[Path, Experiment]:
    """The experiment in the file `word`, or of that name in the folder `experiments`.

    Raises FileNotFoundError with the nearest name, or ValueError with the line for whatever goes wrong in the file.
    """
    path = find(word)
    if path is None:
        known = [str(file) for file in experiment_files()] if FOLDER.is_dir() else []
        near = did_you_mean(word if word.endswith(".py") else str(FOLDER / f"{word}.py"), known)
        if written(word).is_file():
            raise ValueError(
                f"'{printable(word)}' is a file, but no experiment (FILE.py): give a folder of class folders of "
                "pictures, as photos/"
            )
        raise FileNotFoundError(f"there is no experiment '{printable(word)}', and no such folder: {near}")
    module = load_file(str(path))
    if not hasattr(module, "experiment"):
        raise ValueError(f"'{path}' defines no function experiment() that returns a cnn_jax.config.Experiment")
    try:
        config = module.experiment()
    except Exception as error:
        raise in_file(str(path), error) from error
    if not isinstance(config, Experiment):
        raise ValueError(f"experiment() of '{path}' returns {type(config).__name__}, not a cnn_jax.config.Experiment")
    return path, config


def main() -> None:
    """What an experiment file does when it is run itself: the same as `launch.py train FILE`."""
    ask_for_huge_pages()
    sys.exit(cli.main(["train", sys.argv[0], *sys.argv[1:]]))
