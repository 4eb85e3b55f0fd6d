"""Anti-aliased subsampling: blur first, so that what is dropped between the kept positions cannot fold back."""

from math import comb

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.ops.pooling import max_pool


def blur_pool(x: jax.Array, strides: int = 2, window: int = 3) -> jax.Array:
    """Every `strides`-th position of x after a binomial filter (Zhang 2019, arXiv:1904.11486, section 3.2).

    Args:
        x: [B, *spatial, C], floating; mirrored at its borders, without repeating the border.
        strides: step between the positions kept.
        window: taps of the filter per dimension: 2 is [1, 1] / 2, 3 is [1, 2, 1] / 4, 5 is [1, 4, 6, 4, 1] / 16.

    Returns:
        [B, *out, C] with out = ceil(spatial / strides), of the type of x, summed in float32 or better.
    """
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    pads = ((window - 1) // 2, window // 2)
    y = jnp.pad(y, ((0, 0), *(pads,) * (x.ndim - 2), (0, 0)), mode="reflect")
    for axis, size in enumerate(x.shape[1:-1], start=1):
        stop = (size - 1) // strides * strides + 1
        taps = [lax.slice_in_dim(y, i, i + stop, strides, axis) * comb(window - 1, i) for i in range(window)]
        y = sum(taps[1:], taps[0]) / 2 ** (window - 1)
    return y.astype(x.dtype)


def max_blur_pool(x: jax.Array, window: int = 3, strides: int = 2) -> jax.Array:
    """Max pooling without aliasing: the maxima at every position, then `blur_pool` (Zhang 2019, equation 5).

    [B, *spatial, C] -> [B, *ceil(spatial / strides), C] for odd windows.
    """
    return blur_pool(max_pool(x, window, 1, (window - 1) // 2), strides)
