"""word_languages: a word, and which of ten languages it is of.

The words are those of Debian's lists for spelling (wamerican, wfrench, wngerman, witalian, wspanish, wportuguese,
wdutch, wswedish, wdanish, wpolish), in /usr/share/dict or $CNN_JAX_DATA/dict: 8,000 of each, drawn once, of 4 to 20
letters, in lower case. A word that two lists have has no one answer and is left out. The draw takes 20 seconds and is
kept on disk.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data.installed import found
from cnn_jax.data.kept import Arrays, kept_on_disk
from cnn_jax.data.source import Splits, permutation
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import text_splits

LISTS = {
    "danish": "wdanish",
    "dutch": "wdutch",
    "american-english": "wamerican",
    "french": "wfrench",
    "ngerman": "wngerman",
    "italian": "witalian",
    "polish": "wpolish",
    "portuguese": "wportuguese",
    "spanish": "wspanish",
    "swedish": "wswedish",
}
CLASSES = ("Danish", "Dutch", "English", "French", "German", "Italian", "Polish", "Portuguese", "Spanish", "Swedish")
SHORTEST, LONGEST = 4, 20  # letters
VERSION = 1  # of how they are drawn


def available() -> str | None:
    """None when the set can be opened, else how to get it."""
    missing = [package for name, package in LISTS.items() if not _file(name)]
    return f"apt-get install {' '.join(missing)}, or set CNN_JAX_DATA to what holds dict/" if missing else None


def word_languages(
    *, words: int = 8_000, unit: Unit = "char", least: int = 1, lengths: tuple[int, ...] = (LONGEST,)
) -> Splits:
    """One split, "all", of which training keeps a fifth of each class for the test.

    words: of each language; unit, least, lengths: see `text.TextPrepare` and `text.learned`.

    Raises:
      FileNotFoundError: a list is not there.
      ValueError: a list has too few words.
    """
    if missing := available():
        raise FileNotFoundError(f"word_languages is not there: {missing}")
    if words < 1:
        raise ValueError(f"word_languages: words must be at least 1, not {words}")
    files = [(name, _file(name)) for name in LISTS]
    sizes = {name: file.stat().st_size for name, file in files if file}
    made_of = {"version": VERSION, "words": words, "sizes": sizes}
    arrays = kept_on_disk("word_languages", made_of, lambda: _drawn([file for _, file in files if file], words))
    shared, every = arrays["shared"].tolist()
    return text_splits(
        "word_languages",
        {"all": arrays["words"].tolist()},
        {"all": {"label": arrays["labels"]}},
        roles={"label": "label"},
        classes=CLASSES,
        unit=unit,
        least=least,
        lengths=lengths,
        licence="of each list its own: public domain, GPL, BSD",
        citation="Debian's lists of words",
        notes=[f"{shared:,} of {every:,} words are in two lists or more and are left out, as '{arrays['example']}'"],
    )


def _drawn(files: Sequence[Path], words: int) -> Arrays:
    lists = [_words(file) for file in files]
    counts = Counter(itertools.chain.from_iterable(lists))
    texts = []
    for name, every in zip(CLASSES, lists, strict=True):
        own = sorted(word for word in every if counts[word] == 1)
        if len(own) < words:
            raise ValueError(f"word_languages: {name} has {len(own):,} words of its own, not {words:,}")
        texts += [own[i] for i in permutation(len(own), 0)[:words]]
    shared = [word for word, count in counts.items() if count > 1]
    return {
        "words": np.array(texts),
        "labels": np.repeat(np.arange(len(CLASSES), dtype=np.int32), words),
        "shared": np.array([len(shared), len(counts)]),
        "example": np.array(min(shared, default="")),
    }


def _words(file: Path) -> set[str]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = (line.strip() for line in text.split("\n"))
    return {line.lower() for line in lines if SHORTEST <= len(line) <= LONGEST and line.isalpha()}


def _file(name: str) -> Path | None:
    return found(own=(f"dict/{name}",), system=(f"/usr/share/dict/{name}",))
