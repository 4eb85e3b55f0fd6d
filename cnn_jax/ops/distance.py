"""Euclidean distances in masks, exact, on the device."""

import jax
import jax.numpy as jnp

from cnn_jax.ops.chunks import pad_spatial


def distance_to(mask: jax.Array) -> jax.Array:
    """How far each pixel of [B, H, W, K] is from the nearest one that is True in its map: float32, in pixels.

    It is 0 where the mask is True, and infinite in a map without any. The squares of distances are least sums of a
    square along the columns and one along the rows, which are found one after the other; each takes as many passes
    over the maps as the longest way along it (Shih & Mitchell 1992, "A mathematical morphology approach to Euclidean
    distance transformation").
    """
    squares = jnp.where(mask, 0.0, jnp.inf).astype(jnp.float32)
    return jnp.sqrt(_least(_least(squares, 1), 2))


def _least(values: jax.Array, axis: int) -> jax.Array:
    """The least of values[i + j] + j^2 over all j. Step j adds 2 j - 1: once nothing is gained, nothing will be."""
    sides = [(0, 0), (0, 0)]
    sides[axis - 1] = (1, 1)
    size = values.shape[axis]

    def one_more(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        least, step, _ = state
        padded = pad_spatial(least, sides, jnp.inf)
        before, after = (jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in (0, 2))
        new = jnp.minimum(least, jnp.minimum(before, after) + (2 * step - 1))
        return new, step + 1, jnp.any(new < least)

    start = (values, jnp.float32(1), jnp.array(True))
    return jax.lax.while_loop(lambda state: state[2], one_more, start)[0]
