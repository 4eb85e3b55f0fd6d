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

FOLDER, CONFIG = Path("experiments"), "config.json"
PACKAGE = Path(__file__).parents[1]
# Of this project: within the package where it is installed, beside it in the repository.
OWN = next(filter(Path.is_dir, (PACKAGE / FOLDER, PACKAGE.parent / FOLDER)), FOLDER)
LARGEST = 2**20  # bytes of an experiment's file
FIELDS = ("Reproduces", "Command", "Time", "Expected")


def experiment_files() -> list[Path]:
    """The experiments of the folder `experiments` here, then those of this project that are not in it by that name."""
    found: dict[str, Path] = {}
    for path in (*sorted(FOLDER.glob("*.py")), *sorted(OWN.glob("*.py"))):
        if path.is_file() and path.stat().st_size <= LARGEST:  # no pipe, no device
            if re.search(rb"^def experiment\(", path.read_bytes(), re.MULTILINE):
                found.setdefault(path.name, path)
    return list(found.values())


def word_for(path: Path) -> str:
    """What means an experiment on the command line: its path from here, or its name alone where it comes along."""
    return path.stem if path.parent == OWN else str(path)


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
    """The experiment file that a word on the command line means, or None: a path, or a name (`FOLDER` goes first)."""
    named = [written(word)] if word.endswith(".py") else [FOLDER / f"{word}.py", OWN / f"{word}.py"]
    return next(filter(Path.is_file, named), None)


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
