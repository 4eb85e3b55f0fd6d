"""What a model is asked about: files, named one by one, by folders, patterns and lists, and read a batch at a time.

A model of texts is asked about the words themselves, unless they are the names of files.
"""

import glob
import itertools
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from cnn_jax.data.access import threads
from cnn_jax.data.batches import prefetch
from cnn_jax.data.files import TEXTS, example_of, kind_of
from cnn_jax.data.placement import Placement
from cnn_jax.data.sound import SoundPrepare, Traits, header, said_of
from cnn_jax.data.spec import Spec
from cnn_jax.data.texts import flaw_of
from cnn_jax.data.tree import LeftOut, pictures
from cnn_jax.paths import printable, written

T = TypeVar("T")

LIST = "@"  # before the name of a file that lists inputs, one a line; alone with a - it is the standard input
DRAWN = ".predicted.png"  # the end of the names of pictures that `predict` draws
EXPLAINED = ".explained"  # and of what `explain` writes, before .png
WRITTEN = (DRAWN, ".predicted.mask.png", f"{EXPLAINED}.png")  # what is written beside inputs and not looked at again
BATCH, NUMBERS = 64, 16 * 224 * 224 * 3  # examples of a batch, and the numbers that they hold together, at most


class Input(NamedTuple):
    """A file, or a text, as an example, with where a picture lies in it; or why there is none, in one line."""

    path: Path | str
    example: np.ndarray | None
    placement: Placement | None = None
    problem: str = ""


def read_all(words: Iterable[str], spec: Spec, *, convert: bool = False) -> Iterator[list[Input]]:
    """The files that `words` mean, a batch at a time, read by threads while the batch before is worked on.

    No more than a few batches are held at once, however many files there are. After the last, what was changed in
    reading sounds is warned of, a line for each kind.
    """
    heard: dict[str, Traits] = {}

    def read(found: Path | str | OSError | ValueError) -> Input:
        if not isinstance(found, Path | str):
            return Input(Path(), None, problem=_line(found))
        try:
            example, placement = example_of(found, spec, convert=convert)
            if isinstance(spec.prepare, SoundPrepare):
                heard[printable(found)] = header(Path(found))._replace(silent=not example.any())
        except (OSError, ValueError) as error:
            return Input(found, None, problem=_line(error))
        return Input(found, example, placement)

    parts = in_parts(files(words, spec), batch_size(spec))
    yield from prefetch((list(threads().map(read, part)) for part in parts), 1)
    if isinstance(spec.prepare, SoundPrepare):
        for line in said_of(heard, spec.prepare, " and are read in windows that cover all"):
            warnings.warn(line, stacklevel=2)


def batch_size(spec: Spec) -> int:
    """Examples that a model is asked about at once: a power of 2, smaller where they are large."""
    fit = NUMBERS // max(int(np.prod(spec.input.shape)), 1)
    return min(BATCH, 1 << max(fit, 1).bit_length() - 1)


def in_parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` of the items, the last one of what is left."""
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part


def files(words: Iterable[str], spec: Spec) -> Iterator[Path | str | OSError | ValueError]:
    """The files that `words` mean, in order, and an error in the place of each word that means none.

    A folder stands for the pictures in it and below, for a model of other arrays for the .npy files; a pattern, as
    'photos/*.jpg' or 'photos/**/*.png', for what it matches; @FILE for the words on the lines of a file, @- for those
    of the standard input. What is passed over in a folder is warned of, a line for each kind.

    Of a model of texts a word that names no file is a text, and so is each line of @FILE.
    """
    for word in words:
        try:
            if word.startswith(LIST) and not os.path.exists(word):
                name, texts = word.removeprefix(LIST), kind_of(spec) is TEXTS
                for number, line in enumerate(_listed(name), 1):
                    if texts and (flaw := flaw_of(line)):
                        yield ValueError(f"'{printable(name)}', line {number}, {flaw}")
                    elif line.strip():
                        yield from _found([line], spec)
            else:
                yield from _found([word], spec)
        except (OSError, ValueError) as error:
            yield error


def _found(words: Iterable[str], spec: Spec) -> Iterator[Path | str | OSError | ValueError]:
    texts = kind_of(spec) is TEXTS
    for word in words:
        if texts and not _is_there(word):
            yield word
            continue
        path = written(word)
        if os.path.isdir(path):
            yield from _below(path, spec)
        elif glob.has_magic(word) and not os.path.exists(path):
            matches = sorted(glob.iglob(str(path), recursive=True))
            if not matches:
                yield FileNotFoundError(f"no file matches '{printable(word)}'")
            for match in map(Path, matches):
                if match.is_dir():
                    yield from _below(match, spec)
                else:
                    yield match
        else:
            yield path


def _is_there(word: str) -> bool:
    try:
        return os.path.exists(written(word))
    except ValueError:  # a text with a null character, or of none
        return False


def _below(folder: Path, spec: Spec) -> Iterator[Path | OSError | ValueError]:
    kind = kind_of(spec)
    left, count = LeftOut(folder), 0
    try:
        for path in pictures(folder, left, kind.suffixes, kind.odd):
            if path.name.endswith(WRITTEN):
                by = "explain" if path.name.endswith(f"{EXPLAINED}.png") else "predict"
                left.add(f"pictures that {by} has drawn", path)
            else:
                count += 1
                yield path
    except OSError as error:
        yield error
        count = max(count, 1)  # what else there is, is not known
    notes = left.notes()
    if count:
        for note in notes:
            warnings.warn(f"{printable(folder)}: {note}", stacklevel=2)
    else:
        beside = f": {'; '.join(notes)}" if notes else ""
        yield FileNotFoundError(f"there are no {kind.what} in the folder '{printable(folder)}'{beside}")


def _listed(name: str) -> list[str]:
    """The lines of a file of names, as the system writes names."""
    if name == "-":
        data = sys.stdin.buffer.read()
    elif not os.path.isfile(path := written(name)):
        raise FileNotFoundError(f"there is no list '{printable(name)}'")
    else:
        data = path.read_bytes()
    lines = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines()
    if not any(lines):
        raise ValueError(f"the list '{printable(name)}' is empty")
    return lines


def _line(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"'{printable(error.filename)}': {error.strerror}"
    return str(error)
