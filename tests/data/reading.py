"""A source as a run reads it."""

from functools import partial

import numpy as np

from cnn_jax.data.source import ArraySource, Source, in_memory, opened, split_of
from cnn_jax.lookup import lookup


def read(text: str, split: str, validation: float = 0.1, **settings: object) -> Source:
    """One split of the source named by `text`, in memory where it fits."""
    return in_memory(split_of(opened(partial(lookup(text), **settings), validation=validation), split))


def labels(source: Source) -> np.ndarray:
    """The classes of a source's examples."""
    found = source.arrays if isinstance(source, ArraySource) else source.batch(np.arange(len(source)))
    return found["label"]


def image(source: Source, index: int) -> np.ndarray:
    """One image of a source."""
    return source.batch(np.array([index]))["image"][0]
