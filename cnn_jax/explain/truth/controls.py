"""Maps that know nothing of the model: what an attribution has to be better than."""

import jax
import jax.numpy as jnp

from cnn_jax.explain.attribution import Score


def random(f: Score, x: jax.Array, *, key: jax.Array) -> jax.Array:
    """Uniform numbers [B, *spatial]."""
    return jax.random.uniform(key, x.shape[:-1])


def edges(f: Score, x: jax.Array) -> jax.Array:
    """How much the input changes at a position, [B, *spatial]: the length of Sobel's gradient, mean over channels."""
    spatial = range(1, x.ndim - 1)
    padded = jnp.pad(x, [(0, 0), *[(1, 1)] * (x.ndim - 2), (0, 0)], mode="edge")

    def along(v: jax.Array, axis: int, taps: tuple[float, float, float]) -> jax.Array:
        length = v.shape[axis] - 2
        parts = [t * jax.lax.slice_in_dim(v, i, i + length, axis=axis) for i, t in enumerate(taps)]
        return parts[0] + parts[1] + parts[2]

    total = jnp.zeros_like(x)
    for differed in spatial:
        v = padded
        for axis in spatial:
            v = along(v, axis, (-1.0, 0.0, 1.0) if axis == differed else (1.0, 2.0, 1.0))
        total += v**2
    return jnp.sqrt(total).mean(-1)


def centre(f: Score, x: jax.Array, *, width: float = 0.25) -> jax.Array:
    """A bell [B, *spatial] in the middle; width: its standard deviation as a share of each side."""
    bell = jnp.ones(())
    for length in x.shape[1:-1]:
        offset = (jnp.arange(length) - (length - 1) / 2) / (width * length)
        bell = bell[..., None] * jnp.exp(-(offset**2) / 2)
    return jnp.broadcast_to(bell, x.shape[:-1])
