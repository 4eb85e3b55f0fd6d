"""Texts of several lengths in one batch: their vectors, which positions are words, and layers that heed it.

A text is padded to the length of its batch, and what a network says of it must not depend on how far: a maximum over
time is over real positions, a mean is over their number, BatchNorm's statistics skip the others, and after each layer
these are set to 0 again, as beyond the ends of the array. Strided layers therefore count from the first position.

A network of texts reads tokens [B, L], whole numbers of which 0 is padding, by a table of `vocabulary` vectors; or it
reads vectors [B, L, C] as they are, all of them real: one-hot characters, vectors of words, or any other signal. Counts
of published networks are those on vectors; the table has `vocabulary` x C numbers more.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.layers import Layer, require_size, widened
from cnn_jax.ops.entry import entry
from cnn_jax.ops.pooling import max_pool

Real = jax.Array | None  # [B, L, 1] of 0 and 1, or None where all are real
Mixed = tuple[jax.Array, jax.Array] | None  # further tokens [B, L] and their weights [B], which mixup blends in


def uniform_within(limit: float) -> nn.initializers.Initializer:
    """Numbers drawn evenly from -limit to limit."""

    def draw(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return draw


class Vectors(nn.Module):
    """Tokens [B, L] -> the vectors [B, L, dim] that a table has for 1 to `vocabulary`; 0, padding, is the vector 0.

    Padding has no row, so that no step of an optimizer can change its vector (Kim's code sets a row back to 0).
    frozen: the table stays as it began.
    """

    vocabulary: int
    dim: int
    frozen: bool = False
    embedding_init: nn.initializers.Initializer = uniform_within(0.25)

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        table = self.param("embedding", self.embedding_init, (self.vocabulary, self.dim), jnp.float32)
        table = jax.lax.stop_gradient(table) if self.frozen else table
        return jnp.where(tokens[..., None] > 0, jnp.take(table, tokens - 1, axis=0, mode="clip"), 0)


def one_hot(tokens: jax.Array, *, symbols: int) -> jax.Array:
    """Tokens [B, L] -> [B, L, symbols]: 1 for what the vocabulary has, nothing for padding and for what it lacks."""
    return jax.nn.one_hot(tokens - 2, symbols, dtype=jnp.float32)


def read(
    x: jax.Array,
    vectors: Callable[[], Callable[[jax.Array], jax.Array]],
    *,
    model: str,
    dtype: Any,
    mixed: Mixed = None,
) -> tuple[jax.Array, Real]:
    """What a network reads, [B, L, C] of `dtype`, and which positions of it are real.

    vectors: builds what turns tokens into vectors, which is called for tokens only.
    Raises ValueError for what is neither tokens nor vectors.
    """
    if not jnp.issubdtype(x.dtype, jnp.integer):
        require_size(x, rank=1, smallest=1, model=model)
        return x.astype(dtype), None
    if x.ndim != 2:
        raise ValueError(f"{model} reads tokens [B, L] or vectors [B, L, C], not {x.shape}")
    of = vectors()
    found, real = of(x), x > 0
    if mixed is not None:
        other, weight = mixed
        share = weight[:, None, None]
        found = (1 - share) * found + share * of(other)
        real |= other > 0
    return entry(found.astype(dtype)), real[..., None].astype(dtype)


def table(vocabulary: int | None, dim: int, *, model: str, **settings: Any) -> Callable[..., Vectors]:
    """Builds the table of a network, as its module "words". Raises ValueError where its size was not said."""

    def build(**others: Any) -> Vectors:
        return Vectors(known(vocabulary, model), dim, **{"name": "words", **settings, **others})

    return build


def known(vocabulary: int | None, model: str) -> int:
    """The number of words. Raises ValueError where it was not said."""
    if vocabulary is None:
        raise ValueError(f"{model} is given tokens, but not how many there are: say vocabulary=")
    return vocabulary


def kept(x: jax.Array, real: Real) -> jax.Array:
    """x with 0 where nothing is real."""
    return x if real is None else x * real.astype(x.dtype)


def norm_of(norm: Layer, real: Real) -> Layer:
    """`norm`, whose statistics are over real positions."""
    if real is None:
        return norm

    def build(**settings: Any) -> Callable[..., jax.Array]:
        return partial(norm(**settings), real=real)

    return build


def halved(x: jax.Array, real: Real) -> tuple[jax.Array, Real]:
    """Maxima over windows of 3 at every second position, [B, L, C] -> [B, (L + 1) // 2, C], and which are real."""
    if real is None:
        return max_pool(x, 3, 2, 1), None
    lowest = jnp.where(real > 0, x, -jnp.inf)
    shorter = real[:, ::2]
    return jnp.where(shorter > 0, max_pool(lowest, 3, 2, 1), 0), shorter


def greatest(x: jax.Array, real: Real) -> jax.Array:
    """The maximum over real positions, [B, L, C] -> [B, C]; 0 where there is none."""
    if real is None:
        return x.max(1)
    found = jnp.where(real > 0, x, -jnp.inf).max(1)
    return jnp.where(real.any(1), found, 0)


def mean(x: jax.Array, real: Real) -> jax.Array:
    """The mean over real positions, [B, L, C] -> [B, C] in float32 or better; 0 where there is none."""
    if real is None:
        return widened(x).mean(1)
    return (widened(x) * real).sum(1) / jnp.maximum(real.sum(1), 1)


def summed(x: jax.Array, real: Real) -> jax.Array:
    """The sum over real positions by the root of their number, [B, L, C] -> [B, C] in float32 or better."""
    found = mean(x, real)
    return found * jnp.sqrt(x.shape[1] if real is None else real.sum(1).astype(found.dtype))


def last(x: jax.Array, real: Real) -> jax.Array:
    """What stands at the last real position, [B, L, C] -> [B, C]."""
    if real is None:
        return x[:, -1]
    place = jnp.maximum(real.sum(1).astype(jnp.int32) - 1, 0)
    return jnp.take_along_axis(x, place[:, None], axis=1)[:, 0]


def k_greatest(x: jax.Array, real: Real, k: int) -> jax.Array:
    """The k greatest numbers of each channel in the order in which they stand, [B, L, C] -> [B, k, C].

    Kalchbrenner et al. 2014, arXiv:1404.2188, section 3.2. Where there are fewer, zeros follow.
    """
    lowest = x if real is None else jnp.where(real > 0, x, -jnp.inf)
    missing = max(k - x.shape[1], 0)
    lowest = jnp.pad(lowest, ((0, 0), (0, missing), (0, 0)), constant_values=-jnp.inf)
    _, places = jax.lax.top_k(lowest.swapaxes(1, 2), k)
    found = jnp.take_along_axis(lowest, jnp.sort(places, axis=-1).swapaxes(1, 2), axis=1)
    return jnp.where(jnp.isfinite(found), found, 0)
