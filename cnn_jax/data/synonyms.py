"""Words that mean the same, from WordNet: what a word of a text may be replaced by while training reads it."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.installed import found
from cnn_jax.data.keyed import uniform
from cnn_jax.data.text import FIRST

FILES = ("noun", "verb", "adj", "adv")
INSTALL = "apt-get install wordnet-base, or set CNN_JAX_DATA to a folder that holds wordnet/data.noun, data.verb, ..."


class Synonyms:
    """start [V + FIRST], count: where those of each token of a vocabulary are in `others`, and how many it has."""

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        known = {word: number for number, word in enumerate(vocabulary, FIRST)}
        groups: list[set[int]] = [set() for _ in range(len(vocabulary) + FIRST)]
        for words in _synsets():
            tokens = [known[word] for word in words if word in known]
            for token in tokens:
                groups[token].update(tokens)
        for token, group in enumerate(groups):
            group.discard(token)
        self.count = np.array([len(group) for group in groups])
        self.start = np.cumsum(self.count) - self.count
        self.others = np.array([token for group in groups for token in sorted(group)], np.int32)

    def drawn(self, tokens: NDArray[np.int32], key: int, share: float) -> NDArray[np.int32]:
        """The tokens [n], of which each that has synonyms is replaced by one of them with the probability `share`."""
        numbers = uniform(np.uint64(key), 2 * len(tokens)).reshape(2, -1)
        count = self.count[tokens]
        chosen = (numbers[0] < share) & (count > 0)
        places = self.start[tokens] + np.floor(numbers[1] * count).astype(np.int64)
        replaced = tokens.copy()
        replaced[chosen] = self.others[places[chosen]]
        return replaced


@functools.lru_cache(maxsize=2)
def synonyms_of(vocabulary: tuple[str, ...]) -> Synonyms:
    """Those of a vocabulary. Raises FileNotFoundError where WordNet is not there."""
    return Synonyms(vocabulary)


@functools.cache
def _synsets() -> list[list[str]]:
    """The words of each set of synonyms, in lower case, without those of several words."""
    sets = []
    for file in _files():
        for line in file.read_text(encoding="utf-8").split("\n"):
            fields = line.partition(" | ")[0].split()
            if line.startswith("  ") or len(fields) < 6:  # the licence
                continue
            count = int(fields[3], 16)
            words = {word.partition("(")[0].lower() for word in fields[4 : 4 + 2 * count : 2]}
            single = [word for word in sorted(words) if "_" not in word]
            if len(single) > 1:
                sets.append(single)
    return sets


def _files() -> list[Path]:
    files = [found(own=(f"wordnet/data.{kind}",), system=(f"/usr/share/wordnet/data.{kind}",)) for kind in FILES]
    if not all(files):
        raise FileNotFoundError(f"synonyms are those of WordNet, which is not there: {INSTALL}")
    return [file for file in files if file]
