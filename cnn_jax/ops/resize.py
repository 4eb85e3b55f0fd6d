"""Maps enlarged and made smaller between pixels, as networks for dense prediction do with what they computed."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def resize(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """[B, *spatial, C] -> [B, *size, C], bilinear: along each dimension between the two next positions.

    Pixels are squares, whose centres are mapped to one another, and nothing is smoothed where they become fewer: this
    is PyTorch's `interpolate(mode="bilinear", align_corners=False)`. Summed in float32 or better.

    Raises:
      ValueError: not as many sizes as x has spatial dimensions, or one below 1.
    """
    if len(size) != x.ndim - 2 or min(size) < 1:
        raise ValueError(f"size must be {x.ndim - 2} lengths of at least 1 for x of shape {x.shape}, not {size}")
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, length in enumerate(size, 1):
        before = y.shape[axis]
        if before == 1:
            y = jnp.broadcast_to(y, (*y.shape[:axis], length, *y.shape[axis + 1 :]))
        elif length % before == 0 and length > before:
            y = _enlarged(y, axis, length // before)
        elif length != before:
            y = _sampled(y, axis, length)
    return y.astype(x.dtype)


def _enlarged(x: jax.Array, axis: int, factor: int) -> jax.Array:
    """A whole number of times: each position becomes `factor`, by weights that are the same for all of them.

    Without looking up positions, so that the gradient is a sum and not a scatter.
    """
    places = _places(factor, 1, x.dtype)
    inner = x.ndim - axis - 1
    before, here, after = (
        jnp.asarray(part.reshape(-1, *[1] * inner), x.dtype)
        for part in (np.maximum(-places, 0), 1 - np.abs(places), np.maximum(places, 0))
    )
    length = x.shape[axis]
    first, last = (jax.lax.slice_in_dim(x, *edge, axis=axis) for edge in ((0, 1), (length - 1, length)))
    left = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, length - 1, axis=axis)], axis)
    right = jnp.concatenate([jax.lax.slice_in_dim(x, 1, length, axis=axis), last], axis)
    left, x, right = (jnp.expand_dims(part, axis + 1) for part in (left, x, right))
    y = left * before + x * here + right * after
    return y.reshape(*y.shape[:axis], length * factor, *y.shape[axis + 2 :])


def _sampled(x: jax.Array, axis: int, length: int) -> jax.Array:
    """To any length."""
    before = x.shape[axis]
    places = np.maximum(_places(length, before, x.dtype), 0)
    low = np.minimum(places.astype(int), before - 1)
    share = jnp.asarray((places - low).reshape(-1, *[1] * (x.ndim - axis - 1)), x.dtype)
    below, above = (jnp.take(x, index, axis) for index in (low, np.minimum(low + 1, before - 1)))
    return below * (1 - share) + above * share


def _places(length: int, before: int, dtype: jnp.dtype) -> np.ndarray:
    """Where the centres of `length` positions lie among `before`, computed in the type of the numbers as by PyTorch."""
    half = np.asarray(0.5, dtype)
    return np.asarray(before / length, dtype) * (np.arange(length, dtype=dtype) + half) - half
