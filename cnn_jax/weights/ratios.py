"""Vectors of words that begin with what the training texts say of each word: the log-count ratio of naive Bayes.

Of a word w and a class k it is log(p_w / |p|) - log(q_w / |q|), where p_w is one more than the number of texts of the
class that hold w, q_w one more than that of the others, and |.| the sum over all words (Wang & Manning 2012, ACL,
P12-2018, section 2). A convolution that reads it begins with the evidence of naive Bayes, as the filters of Li et al.
(2017, EMNLP, D17-1201) do, which begin with n-grams of large ratios.
"""

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.source import Source
from cnn_jax.data.spec import named
from cnn_jax.data.text import UNKNOWN, TextPrepare

WORD = "ratios"  # what transfer.weights says
SCALE = 0.5  # of the ratios, so that most are as large as the numbers beside them
LIMIT = 0.25  # of these, which are drawn evenly within it, as a table is that begins without
AT_ONCE = 1024  # texts


def table(train: Source, prepare: TextPrepare, dim: int, seed: int) -> NDArray[np.float32]:
    """The table [symbols, dim] of a vocabulary: in a word's first places its ratios times SCALE, the others drawn.

    Of two classes there is one ratio, that of the second; of more, one for each. Of unknown words, and where no class
    is known, it is 0. Raises ValueError, in one line, for texts without a class each, or where `dim` has no place.
    """
    found = log_count_ratios(train, prepare.symbols)
    found = found[1:] if len(found) == 2 else found
    if len(found) > dim:
        raise ValueError(
            f"vectors of {dim} numbers have no place for those of {len(found)} classes: build it with dim="
        )
    drawn = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, dim))))
    made = drawn.uniform(-LIMIT, LIMIT, (prepare.symbols, dim))
    made[:, : len(found)] = SCALE * found.T
    return made.astype(np.float32)


def log_count_ratios(train: Source, symbols: int) -> NDArray[np.float64]:
    """Ratios [classes, symbols] of the tokens 1 to `symbols`, each class against all others."""
    target, tokens = named(train.spec.targets, "label"), named(train.spec.inputs, "tokens")
    counts = np.zeros((len(train.spec.classes), symbols + 1))
    for start in range(0, len(train), AT_ONCE):
        batch = train.batch(np.arange(start, min(start + AT_ONCE, len(train))))
        for text, label in zip(batch[tokens], batch[target].tolist(), strict=True):
            if label >= 0:
                counts[label, np.unique(text)] += 1
    of, others = (1 + some[:, UNKNOWN:] for some in (counts, counts.sum(0) - counts))
    found = np.log(of / of.sum(1, keepdims=True)) - np.log(others / others.sum(1, keepdims=True))
    found[:, 0] = 0  # the row of UNKNOWN
    return found
