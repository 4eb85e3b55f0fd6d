"""How a text becomes numbers: words, characters or bytes, by a vocabulary that is kept with the model.

0 is padding, 1 whatever the vocabulary does not have, and 2, 3, ... are what it has, in its order. A text is padded to
the shortest of a few lengths that holds it, so that few programs are compiled; what is longer than the longest of them
is cut there.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.prepare import Prepare

# What a text is cut into:
#   word   words in lower case, punctuation apart, and n't, 's, 're, ... as words of their own, as Kim (2014) has them
#   char   characters as they are
#   byte   bytes of UTF-8, all of which are known
#   zhang  the 68 characters of Zhang et al. (2015, arXiv:1509.01626, section 2.2), in lower case, the last one first
Unit = Literal["word", "char", "byte", "zhang"]

PADDING, UNKNOWN, FIRST = 0, 1, 2  # numbers; FIRST is that of the first of the vocabulary
# As published, but for the hyphen that stands there twice, and for the blank, which is no symbol.
ZHANG = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{}"
WORD = re.compile(r"\w+?(?=n['’]t\b)|n['’]t\b|['’]\w+|\w+|[^\w\s]")
LONGEST = 1024  # that a text is read to, where no lengths are given
SHORTEST = 16
FEW = 0.02  # of the texts: a length of fewer is not worth a program of its own
MOST = 2**20  # tokens of a text, and words of a vocabulary


@dataclass(frozen=True, kw_only=True)
class TextPrepare(Prepare):
    """How texts are read.

    unit: what they are cut into.
    vocabulary: words or characters, of which the first has the number FIRST; () for bytes, whose numbers are theirs
      and FIRST more.
    lengths: in tokens, ascending.
    synonyms: share of the words with synonyms in WordNet that training reads as one of these, drawn at each visit.
    """

    unit: Unit = "word"
    vocabulary: tuple[str, ...] = ()
    lengths: tuple[int, ...] = (LONGEST,)
    synonyms: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit must be one of {', '.join(get_args(Unit))}, not {self.unit!r}")
        if not (isinstance(self.synonyms, int | float) and 0 <= self.synonyms <= 1):
            raise ValueError(f"synonyms must be a share of 0 to 1, not {self.synonyms}")
        if self.synonyms and self.unit != "word":
            raise ValueError(f"synonyms are of words: with unit '{self.unit}' there are none")
        lengths, words = self.lengths, self.vocabulary
        whole = isinstance(lengths, tuple) and all(type(n) is int and 1 <= n <= MOST for n in lengths)
        if not (whole and lengths and list(lengths) == sorted(set(lengths))):
            raise ValueError(f"lengths must be numbers of tokens, each larger than the one before, not {lengths}")
        if not isinstance(words, tuple) or len(words) > MOST or not all(isinstance(word, str) for word in words):
            raise ValueError(f"a vocabulary is up to {MOST:,} words, not {str(words)[:60]}")

    @property
    def symbols(self) -> int:
        """How many numbers there are without that of the padding."""
        return 1 + (256 if self.unit == "byte" else len(self.vocabulary))

    @property
    def draws(self) -> bool:
        return self.synonyms > 0

    def shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple((length,) for length in self.lengths)

    def settings(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {}  # a source of texts is read with this record itself, see `texts.TextSource.read_as`


def cut(text: str, unit: Unit) -> list[str]:
    """The words or characters of a text, in the order in which a model reads them; not for bytes."""
    if unit == "word":
        return WORD.findall(normalize("NFC", text).lower())
    return list(text.lower()[::-1]) if unit == "zhang" else list(normalize("NFC", text))


def numbers(texts: Iterable[str], prepare: TextPrepare) -> list[NDArray[np.int32]]:
    """The tokens [n] of each text, as many as it has."""
    if prepare.unit == "byte":
        return [np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int32) + FIRST for text in texts]
    known = _places(prepare.vocabulary)
    return [np.fromiter((known.get(word, UNKNOWN) for word in cut(text, prepare.unit)), np.int32) for text in texts]


@functools.lru_cache(maxsize=4)
def _places(vocabulary: tuple[str, ...]) -> dict[str, int]:
    return {word: number for number, word in enumerate(vocabulary, FIRST)}


def padded(tokens: NDArray[np.int32], prepare: TextPrepare) -> NDArray[np.int32]:
    """Tokens [n] as an example [L], of the first length that holds them; cut at the last."""
    made = np.full(prepare.lengths[bucket([len(tokens)], prepare)[0]], PADDING, np.int32)
    made[: len(tokens)] = tokens[: len(made)]
    return made


def bucket(counts: Sequence[int] | NDArray[Any], prepare: TextPrepare) -> NDArray[np.int64]:
    """Which of the lengths texts of so many tokens [N] have."""
    return np.minimum(np.searchsorted(prepare.lengths, counts), len(prepare.lengths) - 1)


def spelled(tokens: NDArray[Any], prepare: TextPrepare) -> list[str]:
    """The tokens of an example [L] as a person reads them, without the padding; ? for one that is not known."""
    found = [int(token) for token in tokens if token != PADDING]
    if prepare.unit == "byte":
        return [bytes([token - FIRST]).decode("latin-1") if token >= FIRST else "?" for token in found]
    words = [prepare.vocabulary[token - FIRST] if FIRST <= token < prepare.symbols + 1 else "?" for token in found]
    return words[::-1] if prepare.unit == "zhang" else words


def written_out(tokens: NDArray[Any], prepare: TextPrepare) -> str:
    """The same as one text."""
    return (" " if prepare.unit == "word" else "").join(spelled(tokens, prepare))


def learned(texts: Sequence[str], unit: Unit, least: int, lengths: Sequence[int]) -> TextPrepare:
    """The record for these texts of train: their vocabulary, the most frequent first, and lengths that suit them.

    least: times that a word or character must occur in them to be known. lengths: () for powers of 2 up to LONGEST.
    """
    prepare = TextPrepare(unit=unit, vocabulary=tuple(ZHANG) if unit == "zhang" else ())
    if unit in ("word", "char"):
        counts = Counter(word for text in texts for word in cut(text, unit))
        known = sorted((word for word, count in counts.items() if count >= least), key=lambda w: (-counts[w], w))
        if len(known) > MOST:
            raise ValueError(f"there are {len(known):,} words, at most {MOST:,}: choose a larger least")
        prepare = TextPrepare(unit=unit, vocabulary=tuple(known))
    if not lengths:
        sizes = np.array([len(tokens) for tokens in numbers(texts, prepare)])
        lengths = suitable(sizes)
    return TextPrepare(unit=unit, vocabulary=prepare.vocabulary, lengths=tuple(lengths))


def suitable(sizes: NDArray[Any]) -> tuple[int, ...]:
    """Lengths for texts of so many tokens [N]: powers of 2, each the first to hold FEW of them or more, up to LONGEST.

    The longest text has a place in the last one, unless it is longer than LONGEST.
    """
    last, length, found = SHORTEST, SHORTEST, list[int]()
    while last < min(sizes.max(initial=1), LONGEST):
        last *= 2
    below = 0
    while length < last:
        held = int((sizes <= length).sum())
        if held - below >= FEW * len(sizes) and len(sizes) - held >= FEW * len(sizes):
            found.append(length)
            below = held
        length *= 2
    return (*found, last)
