"""wordnet: what WordNet 3.0 says of its nouns, in 25 classes: the file of its lexicographers that each is in.

A text is a gloss, "the branch of biology that studies animals" of cognition. The file data.noun is that of the Debian
package wordnet-base, or $CNN_JAX_DATA/wordnet/data.noun. Glosses of two nouns or more are taken once, and left out
where these are of several classes.
"""

from pathlib import Path

import numpy as np

from cnn_jax.data.installed import found
from cnn_jax.data.source import Splits
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import text_splits

INSTALL = "apt-get install wordnet-base, or set CNN_JAX_DATA to a folder that holds wordnet/data.noun"
CLASSES = (
    *("act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling", "food"),
    *("group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process", "quantity"),
    *("relation", "shape", "state", "substance", "time"),
)
FIRST = 4  # the number of the file of the first class; 3 is that of the roots of all
LAST = FIRST + len(CLASSES) - 1


def available() -> str | None:
    """None when the set can be opened, else how to get it."""
    return None if _file() else INSTALL


def wordnet(*, unit: Unit = "word", least: int = 1, lengths: tuple[int, ...] = ()) -> Splits:
    """One split, "all", of which training keeps a fifth of each class for the test.

    unit, least, lengths: see `text.TextPrepare` and `text.learned`.

    Raises:
      FileNotFoundError: the file is not there.
      ValueError: another file.
    """
    file = _file()
    if file is None:
        raise FileNotFoundError(f"wordnet is not there: {INSTALL}")
    classes: dict[str, set[int]] = {}
    roots = nouns = 0
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        head, bar, gloss = line.partition(" | ")
        if line.startswith("  ") or not line.strip():  # the licence
            continue
        words = head.split(maxsplit=2)
        if not bar or len(words) < 2 or not words[1].isdecimal() or not FIRST - 1 <= int(words[1]) <= LAST:
            raise ValueError(f"'{file}', line {number}, is no noun of WordNet 3.0")
        nouns += 1
        if int(words[1]) < FIRST:
            roots += 1
        else:
            classes.setdefault(gloss.strip(), set()).add(int(words[1]) - FIRST)
    kept = {gloss: next(iter(of)) for gloss, of in classes.items() if len(of) == 1}
    return text_splits(
        "wordnet",
        {"all": list(kept)},
        {"all": {"label": np.array(list(kept.values()), np.int32)}},
        roles={"label": "label"},
        classes=CLASSES,
        unit=unit,
        least=least,
        lengths=lengths,
        licence="WordNet 3.0",
        citation="Miller 1995, WordNet: a lexical database for English, Communications of the ACM 38(11)",
        notes=[
            f"{roots} of {nouns} nouns, the roots of all others, are left out",
            f"{nouns - roots - len(kept)} of {nouns} nouns have the gloss of another one, as {_example(classes)}: it "
            "is taken once, or not at all where they are of several classes",
        ],
    )


def _example(classes: dict[str, set[int]]) -> str:
    return next((f"'{gloss[:60]}'" for gloss, of in classes.items() if len(of) > 1), "none")


def _file() -> Path | None:
    return found(own=("wordnet/data.noun",), system=("/usr/share/wordnet/data.noun",))
