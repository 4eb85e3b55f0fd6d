"""Regularisation by dropping parts of a map: whole residual branches, or blocks of neighbouring positions."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.ops.batch_axis import first_example
from cnn_jax.ops.chunks import pad_spatial
from cnn_jax.ops.pooling import max_pool


class DropPath(nn.Module):
    """Stochastic depth, example by example (Huang et al. 2016, arXiv:1603.09382, section 3): x / (1 - rate) or zeros.

    Put it around a residual branch. Needs the rng stream "dropout" in training; like `layers.Dropout`, an example's
    draw depends on its position in the global batch only. Raises ValueError for a rate outside [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not 0.0 <= self.rate < 1.0:
            raise ValueError(f"drop-path rate {self.rate} is not in [0, 1): pass the fraction of branches to drop")
        if not train or self.rate == 0.0:
            return x
        keys = _example_keys(self.make_rng("dropout"), len(x))
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(1.0 - self.rate)))(keys)
        return jnp.where(keep.reshape(-1, *(1,) * (x.ndim - 1)), x / (1.0 - self.rate), 0).astype(x.dtype)


class DropBlock(nn.Module):
    """Zeros in blocks of `size` positions per dimension (Ghiasi et al. 2018, arXiv:1810.12890, algorithm 1).

    x [B, *spatial, C]; each channel has its own blocks, drawn so that about the fraction `rate` of all values is
    dropped, and the rest of each example is scaled up by all / kept. A map smaller than a block is dropped whole.
    Needs the rng stream "dropout" in training; an example's blocks depend on its position in the global batch only.
    Raises ValueError for a rate outside [0, 1).
    """

    rate: float
    size: int = 7

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not 0.0 <= self.rate < 1.0:
            raise ValueError(f"drop-block rate {self.rate} is not in [0, 1): pass the fraction of values to drop")
        if not train or self.rate == 0.0:
            return x
        spatial = x.shape[1:-1]
        block = [min(self.size, length) for length in spatial]
        corners = [length - k + 1 for length, k in zip(spatial, block, strict=True)]  # of blocks that lie inside x
        gamma = self.rate * math.prod(spatial) / math.prod(block) / math.prod(corners)
        keys = _example_keys(self.make_rng("dropout"), len(x))
        seeds = jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(gamma), (*corners, x.shape[-1])))(keys)
        margins = [(k - 1, k - 1) for k in block]
        keep = 1.0 - max_pool(pad_spatial(seeds.astype(jnp.float32), margins), block, 1)
        share = keep.mean(tuple(range(1, x.ndim)), keepdims=True)
        return (x * keep / jnp.maximum(share, 1.0 / keep[0].size)).astype(x.dtype)


def _example_keys(key: jax.Array, count: int) -> jax.Array:
    """One key for each of this program's `count` examples, by its position in the global batch."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first_example(count) + jnp.arange(count))
