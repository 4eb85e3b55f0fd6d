"""The tokens of a text as a person reads them: what each of them is part of, and the words that they make."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.text import FIRST, PADDING, TextPrepare, cut, spelled

INSIDE = "'’-"  # of words, beside letters and digits


class Spelling(NamedTuple):
    """letters: in the order of reading, what is coloured by itself: words of a model of words, else characters.

    of: [n], the place among them of each token, in the order of the model. words: as which they are read; word_of: [n],
    the place among these of each token, -1 for blanks.
    """

    letters: list[str]
    of: NDArray[np.int64]
    words: list[str]
    word_of: NDArray[np.int64]

    def of_letters(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """What the tokens [n] count, as the sum of each letter."""
        return np.bincount(self.of, np.asarray(values, np.float64), len(self.letters)).astype(np.float64)

    def of_words(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The same of each word."""
        known = self.word_of >= 0
        counts = np.asarray(values, np.float64)[known]
        return np.bincount(self.word_of[known], counts, len(self.words)).astype(np.float64)


def spelled_out(tokens: NDArray[np.integer], prepare: TextPrepare, text: str = "") -> Spelling:
    """How the tokens [L] of an example are read; by its text also words that the model does not know, else "?"."""
    real = np.asarray(tokens)[np.asarray(tokens) != PADDING]
    count = len(real)
    if prepare.unit == "byte":
        raw = np.maximum(real - FIRST, 0).astype(np.uint8)
        of = np.maximum(np.cumsum((raw & 0xC0) != 0x80) - 1, 0)  # a byte of the form 10xxxxxx goes on with a character
        letters = [raw[of == k].tobytes().decode("utf-8", "replace") for k in range(of.max(initial=-1) + 1)]
    else:
        # Zhang's symbols, which are read backwards, lack the blank.
        backwards = prepare.unit == "zhang"
        pieces = cut(text, prepare.unit)[:count] if text else spelled(real, prepare)[:: -1 if backwards else 1]
        letters = [" " if backwards and letter == "?" and not text else letter for letter in pieces]
        of = np.arange(count)
        if backwards:
            letters, of = letters[::-1], of[::-1]
    if prepare.unit == "word":
        return Spelling(letters, of, letters, of)
    words, place = list[str](), list[int]()
    for before, letter in zip(["", *letters], letters, strict=False):
        if letter.isspace():
            place.append(-1)
        elif _goes_on(before) and _goes_on(letter):
            words[-1] += letter
            place.append(len(words) - 1)
        else:
            words.append(letter)
            place.append(len(words) - 1)
    return Spelling(letters, of, words, np.array(place, np.int64)[of])


def _goes_on(letter: str) -> bool:
    return letter.isalnum() or (letter != "" and letter in INSIDE)
