"""Vectors of words from files, as word2vec and GloVe publish them: those of a model's vocabulary, the others drawn.

.bin is word2vec's binary format; .npz holds the arrays "words" [N] and "vectors" [N, D]; any other file is text, of one
word and its numbers on a line, with or without word2vec's first line of two numbers.
"""

import hashlib
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.arrays import read_npz
from cnn_jax.data.text import FIRST, TextPrepare
from cnn_jax.paths import printable, written

PREFIX = "vectors:"
LONGEST = 2**20  # bytes of a word, or of a line: more is another format
Vectors = dict[str, NDArray[np.float32]]


def table(word: str, prepare: TextPrepare, dim: int, seed: int) -> tuple[NDArray[np.float32], str]:
    """'vectors:PATH' -> the table [symbols, dim] of a vocabulary, and the sha256 of the file.

    Words without a vector get one drawn evenly within the limits that give it the variance of those that have (Kim
    2014, section 3.2). A warning says how many.

    Raises FileNotFoundError or ValueError, in one line, for no such file, another format, other numbers of a vector, or
    none of the words.
    """
    path = written(word.removeprefix(PREFIX))
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{printable(path)}'")
    found = read(path, set(prepare.vocabulary))
    if not found:
        raise ValueError(f"it has no vector of the {len(prepare.vocabulary):,} words of the vocabulary")
    size = len(next(iter(found.values())))
    if size != dim:
        raise ValueError(f"its vectors are of {size} numbers, those of the model of {dim}: build it with dim={size}")
    limit = float(np.sqrt(3 * np.var(np.stack(list(found.values())))))
    drawn = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, dim))))
    made = drawn.uniform(-limit, limit, (prepare.symbols, dim)).astype(np.float32)
    missing = [name for name in prepare.vocabulary if name not in found]
    for number, name in enumerate(prepare.vocabulary, FIRST):
        if name in found:
            made[number - 1] = found[name]
    if missing:
        what = f"{len(missing):,} of {len(prepare.vocabulary):,} words have no vector in '{printable(path)}'"
        warnings.warn(f"{what}, as '{printable(missing[0])}': theirs are drawn", stacklevel=2)
    return made, hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path, words: Collection[str]) -> Vectors:
    """The vectors of those of `words` that a file has. Raises ValueError for another format."""
    try:
        if path.suffix == ".npz":
            found = _npz(path, words)
        elif path.suffix == ".bin":
            found = dict(_binary(path, words))
        else:
            found = dict(_lines(path, words))
        if len({len(vector) for vector in found.values()}) > 1 or not all(np.isfinite(v).all() for v in found.values()):
            raise ValueError("its vectors are of several lengths, or not finite")
        return found
    except (ValueError, IndexError) as error:
        raise ValueError(f"'{printable(path)}' holds no vectors of words: {error}") from None


def _npz(path: Path, words: Collection[str]) -> Vectors:
    def wanted(names: list[str]) -> list[str]:
        if not {"words", "vectors"} <= set(names):
            raise ValueError(f"it has the arrays {', '.join(names)}, not words and vectors")
        return ["words", "vectors"]

    arrays = read_npz(path, wanted)
    names, vectors = arrays["words"], arrays["vectors"]
    if names.dtype.kind != "U" or vectors.ndim != 2 or vectors.dtype.kind != "f" or len(names) != len(vectors):
        raise ValueError("words must be texts [N], vectors floats [N, D]")
    return {name: vectors[i].astype(np.float32) for i, name in enumerate(names.tolist()) if name in words}


def _binary(path: Path, words: Collection[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    with path.open("rb") as file:
        head = file.readline(100).split()
        if len(head) != 2 or not all(map(bytes.isdigit, head)):
            raise ValueError("its first line is not two numbers")
        count, size = map(int, head)
        if not 1 <= size <= LONGEST // 4 or count * size * 4 > path.stat().st_size:
            raise ValueError(f"it says {count:,} vectors of {size:,} numbers but has {path.stat().st_size:,} bytes")
        for _ in range(count):
            name = bytearray()
            while (letter := file.read(1)) not in (b" ", b"") and len(name) < LONGEST:
                name += letter
            data = file.read(4 * size)
            if len(data) < 4 * size:
                raise ValueError("it ends within a vector")
            if (word := bytes(name).strip().decode("utf-8", "replace")) in words:
                yield word, np.frombuffer(data, "<f4")


def _lines(path: Path, words: Collection[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            name, *values = line.rstrip().split(b" ")
            if number == 1 and len(values) == 1 and name.isdigit():  # how many there are, and of how many numbers
                continue
            if not values or len(line) == LONGEST:
                raise ValueError(f"line {number} is no word with its numbers")
            if (word := name.decode("utf-8", "replace")) in words:
                yield word, np.array([float(value) for value in values], np.float32)
