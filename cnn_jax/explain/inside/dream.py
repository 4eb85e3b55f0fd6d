"""Deep dream: a picture is changed until what a layer sees in it stands out."""

import jax
import jax.numpy as jnp

from cnn_jax.explain.attribution import LayerScore, Score


def dream(
    f: Score,
    x: jax.Array,
    key: jax.Array,
    *,
    octaves: int = 4,
    ratio: float = 1.4,
    steps: int = 10,
    rate: float = 0.05,
    smallest: int = 32,
) -> jax.Array:
    """x [B, *spatial, C], as the model reads it, changed by gradient ascent on f at growing sizes.

    Mordvintsev, Olah and Tyka 2015: what a small size has found is enlarged and added to the next, sharper picture.

    Args:
      f: as `strength` makes one; it must take inputs of other sizes, as fully convolutional networks do.
      octaves, ratio: how many sizes there are, each so many times the one before, the last of them that of x; those
        below `smallest` positions are left out.
      steps, rate: of the ascent at each size. A step is `rate` times the standard deviation of x on the mean.
    """
    spatial = x.shape[1:-1]
    sizes = [tuple(round(side / ratio**k) for side in spatial) for k in reversed(range(octaves))]
    sizes = [size for size in sizes if min(size) >= min(smallest, *spatial)]
    spread, added = x.std(), jnp.zeros_like(x)
    for number, size in enumerate(sizes):
        shape = (len(x), *size, x.shape[-1])
        base = jax.image.resize(x, shape, "linear")
        added = jax.image.resize(added, shape, "linear")
        added = _climb(f, base, added, jax.random.fold_in(key, number), steps, rate * spread)
    return x + added


def strength(g: LayerScore, layer: str) -> Score:
    """x [B, ...] -> [B], the mean square of a feature map: whatever the layer already sees shall grow."""
    return lambda x: (g(x)[1][layer] ** 2).reshape(len(x), -1).mean(1)


def _climb(f: Score, base: jax.Array, added: jax.Array, key: jax.Array, steps: int, rate: jax.Array) -> jax.Array:
    """Steps of the same mean size, each seen at a random shift, so that the edges of strides leave no grid."""
    axes = tuple(range(1, base.ndim - 1))

    def step(added: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        shift = jax.random.randint(key, (len(axes),), -16, 17)
        rolled = jnp.roll(base + added, shift, axes)
        slope = jnp.roll(jax.grad(lambda x: f(x).sum())(rolled), -shift, axes)
        size = jnp.abs(slope).mean(range(1, base.ndim), keepdims=True)
        return added + rate * slope / jnp.maximum(size, 1e-12), None

    return jax.lax.scan(step, added, jax.random.split(key, steps))[0]
