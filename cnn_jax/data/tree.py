"""Folders of pictures, or of sounds: which are splits, which are classes, what is in them, and what is left out."""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from cnn_jax.data.images import SUFFIXES
from cnn_jax.paths import printable

# What splits are called, in folders and in arrays, in upper or lower case; the first that is there is taken.
SYNONYMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
HIDDEN = "hidden files and folders"
ODD = "files whose names do not end as a picture's"
BROKEN = "broken links and other things that are no files"
AGAIN = "folders that links lead to a second time"


class Meant(NamedTuple):
    """The files that are looked for, by their suffixes; what, odd: they and others are called; first: an example."""

    suffixes: Collection[str]
    what: str
    odd: str
    first: str


IMAGES = Meant(SUFFIXES, "images", ODD, "1.jpg")


class LeftOut:
    """What is passed over: how often, and the first of each kind."""

    def __init__(self, root: Path) -> None:
        self.root, self.counts, self.first = root, Counter[str](), dict[str, str]()

    def add(self, kind: str, path: Path) -> None:
        """Counts one more."""
        self.counts[kind] += 1
        self.first.setdefault(kind, printable(path.relative_to(self.root)))

    def notes(self) -> list[str]:
        """A line for each kind."""
        return [f"left out {count} {kind}, as {self.first[kind]}" for kind, count in self.counts.items()]


def split_folders(root: Path, left: LeftOut, meant: Meant = IMAGES) -> dict[str, Path]:
    """{split: folder} of the folders named like a split that hold class folders; {} where there is none.

    One that holds pictures and a single folder is a class with a folder below. What lies beside splits is left out.
    """
    found: dict[str, Path] = {}
    folders = {path.name.lower(): path for path in reversed(_folders(root))}
    for split, names in SYNONYMS.items():
        matching = (folders[name] for name in names if name in folders)
        if folder := next((path for path in matching if _holds_classes(path, meant)), None):
            found[split] = folder
    known = {name for names in SYNONYMS.values() for name in names}
    for path in _children(root) if found else ():
        if path not in found.values():
            empty = path.name.lower() in known and path.is_dir() and not _holds_classes(path, meant)
            kind = f"{'folders' if path.is_dir() else 'files'} beside the splits"
            passed_over(path, left, "folders that are named like splits but hold no class folders" if empty else kind)
    return found


def _holds_classes(folder: Path, meant: Meant) -> bool:
    loose = any(path.suffix.lower() in meant.suffixes and path.is_file() for path in _children(folder))
    return len(_folders(folder)) > loose


def class_folders(root: Path, left: LeftOut, meant: Meant = IMAGES) -> dict[str, list[Path]]:
    """{class: its files}, of the folders in `root`, walked down; both are sorted.

    Raises ValueError, in one line, where there are no such folders, or one is without such files.
    """
    classes = [path for path in _folders(root) if not path.name.startswith(".")]
    if not classes:
        hint = f"put them into a folder for each class, as {printable(root / 'cat' / meant.first)}"
        raise ValueError(f"no {meant.what}: {printable(root)} has no class folders: {hint}")
    for path in _children(root):
        if path not in classes:
            passed_over(path, left, "files beside the class folders")
    found = {}
    for path in classes:
        # One file system writes é as one letter, another as e and an accent.
        files = found[normalize("NFC", printable(path.name))] = list(pictures(path, left, meant.suffixes, meant.odd))
        if not files:
            what = f"class folder {printable(path)} has no {meant.what}, as {meant.first}"
            raise ValueError(f"{what}: add some, or move it away")
    if len(found) < len(classes):
        raise ValueError(f"two class folders in {printable(root)} are shown by the same name: rename one")
    return found


def pictures(folder: Path, left: LeftOut, suffixes: Collection[str] = SUFFIXES, odd: str = ODD) -> Iterator[Path]:
    """The pictures of a folder and those below it, in order; or files of other suffixes.

    No folder is visited twice, nor one that this folder lies in, so links cannot loop.
    """
    above = [path.stat() for path in {*folder.absolute().parents, *folder.resolve().parents}]
    visited = {(status.st_dev, status.st_ino) for status in above}
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path != folder and path.name.startswith("."):
            passed_over(path, left, HIDDEN)
        elif path.suffix.lower() in suffixes and path.is_file():
            yield path
        elif path.is_dir():
            status = path.stat()
            if (status.st_dev, status.st_ino) in visited:
                left.add(AGAIN, path)
            else:
                visited.add((status.st_dev, status.st_ino))
                waiting += reversed(_children(path))
        else:
            left.add(BROKEN if path.suffix.lower() in suffixes else odd, path)


def passed_over(path: Path, left: LeftOut, kind: str) -> None:
    """Counts what is not looked into; hidden files only where they are named as pictures."""
    if not path.name.startswith("."):
        left.add(kind, path)
    elif path.suffix.lower() in SUFFIXES or path.is_dir():
        left.add(HIDDEN, path)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _folders(folder: Path) -> list[Path]:
    return [path for path in _children(folder) if path.is_dir() and not path.name.startswith(".")]
