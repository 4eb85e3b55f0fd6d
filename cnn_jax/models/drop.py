"""Regularisation by dropping parts of a map: whole residual branches."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.ops.batch_axis import first_example


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
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            self.make_rng("dropout"), first_example(len(x)) + jnp.arange(len(x))
        )
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - self.rate))(keys)
        return jnp.where(keep.reshape(-1, *(1,) * (x.ndim - 1)), x / (1.0 - self.rate), 0).astype(x.dtype)
