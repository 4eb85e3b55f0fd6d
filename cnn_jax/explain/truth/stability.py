"""How much a map changes where the input hardly does."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cnn_jax.explain.attribution import Score


def sensitivity_max(
    method: Callable[[Score, jax.Array], jax.Array],
    f: Score,
    x: jax.Array,
    key: jax.Array,
    *,
    radius: float = 0.02,
    samples: int = 10,
) -> jax.Array:
    """The largest relative change [B] of a map among `samples` inputs near x. Lower is better.

    Yeh et al. 2019, arXiv:1901.09392, definition 2, as in captum: uniform noise of at most `radius` in each number, and
    ||map(x + noise) - map(x)|| / ||map(x)|| in the Euclidean norm.

    Args:
      method: (f, x) -> map.
      radius: in the units of x.
    """
    size = lambda v: jnp.sqrt((v**2).sum(range(1, v.ndim)))  # noqa: E731
    own = method(f, x)

    def change(key: jax.Array) -> jax.Array:
        return size(method(f, x + jax.random.uniform(key, x.shape, x.dtype, -radius, radius)) - own)

    return jax.lax.map(change, jax.random.split(key, samples)).max(0) / jnp.maximum(size(own), 1e-30)
