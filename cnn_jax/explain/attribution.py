"""What every attribution is: a pure function of a score and an input; see the package's docstring."""

from collections.abc import Callable, Mapping

import jax

Score = Callable[[jax.Array], jax.Array]  # x [B, ...] -> [B]
LayerScore = Callable[[jax.Array], tuple[jax.Array, Mapping[str, jax.Array]]]  # x -> ([B], feature maps by name)


def positions(attribution: jax.Array, x: jax.Array) -> jax.Array:
    """A map [B, *spatial] of one of x's shape, by the sum over channels; one that is so already stays."""
    return attribution.sum(-1) if attribution.ndim == x.ndim else attribution


def gradient(f: Score, x: jax.Array) -> jax.Array:
    """df / dx, of each example by itself: the sensitivity of Simonyan et al. 2014, arXiv:1312.6034, with its sign."""
    return jax.grad(lambda x: f(x).sum())(x)
