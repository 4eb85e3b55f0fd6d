"""Weights that an installed Python package brings along; the package is not imported."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

PREFIX = "package:"
SUFFIXES = (".pth", ".pt", ".safetensors", ".npz")


def find(word: str) -> Path:
    """'package:NAME' -> the one file of weights of the distribution NAME.

    Raises ValueError, in one line, where it is not installed, or has no such file or several.
    """
    name = word.removeprefix(PREFIX)
    try:
        listed = files(name) or []
    except (PackageNotFoundError, ValueError):  # the latter for an empty name
        raise ValueError(f"'{word}': no package '{name}' is installed: pip install {name or 'NAME'}") from None
    found = [Path(str(file.locate())) for file in listed if file.suffix in SUFFIXES]
    if len(found) != 1:
        names = f": {', '.join(path.name for path in found)}" if found else ""
        raise ValueError(f"'{word}' holds {len(found)} files of weights{names}: give the path of one")
    return found[0]
