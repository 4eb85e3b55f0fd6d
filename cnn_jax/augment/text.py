"""Augmentations of texts, as tokens [B, L]: words are dropped or change places. Padding stays what and where it is.

Synonyms are drawn while a source reads (`synonyms` of those that know words), and mixup, in mix.py, mixes the vectors.
Targets with a place are in pixels, not in words, so they are refused.
"""

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import integer, listed, only, require, uniform
from cnn_jax.batch import Batch
from cnn_jax.data.text import PADDING, UNKNOWN


def token_dropout(keys: jax.Array, batch: Batch, *, probability: float = 0.1) -> Batch:
    """Each word becomes an unknown one with this probability (Iyyer et al. 2015, section 4.2)."""
    _check(batch, "token_dropout", "drop")
    require(0 <= probability < 1, f"token_dropout has a probability of 0 or more and below 1; got {probability}")

    def dropped(tokens: jax.Array) -> jax.Array:
        gone = (uniform(keys, tokens.shape[1]) < probability) & (tokens != PADDING)
        return jnp.where(gone, UNKNOWN, tokens)

    return batch.map(dropped, "tokens")


def word_swap(keys: jax.Array, batch: Batch, *, swaps: int = 1) -> Batch:
    """Two words of a text, drawn evenly, change places, `swaps` times (Wei & Zou 2019, arXiv:1901.11196, section 2)."""
    _check(batch, "word_swap", "swap")
    require(0 < swaps <= 100, f"word_swap swaps 1 to 100 times; got {swaps}")

    def swapped(tokens: jax.Array) -> jax.Array:
        count, places = (tokens != PADDING).sum(1), jnp.arange(tokens.shape[1])
        drawn = integer(uniform(keys, swaps, 2), jnp.maximum(count, 1)[:, None, None])
        for number in range(swaps):
            both = jnp.take_along_axis(tokens, drawn[:, number], axis=1, mode="promise_in_bounds")
            first, second = (places == drawn[:, number, which, None] for which in (0, 1))
            tokens = jnp.where(first, both[:, 1:], jnp.where(second, both[:, :1], tokens))
        return tokens

    return batch.map(swapped, "tokens")


def _check(batch: Batch, augmentation: str, verb: str) -> None:
    require(bool(batch.of("tokens")), f"{augmentation} needs a field of the role tokens; the batch has {listed(batch)}")
    only(batch, augmentation, verb, ("tokens", "image", "signal", "label", "labels"))
