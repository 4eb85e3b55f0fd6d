"""Max and average pooling without window reductions, whose gradients are slow on CPUs (select-and-scatter).

Pooling is written as maxima or sums of shifted slices, one spatial dimension after the other, or as a reshape when
windows tile the input, so its gradient is a few elementwise operations. Channels last, any number of dimensions.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.chunks import pad_spatial, shifted_windows
from cnn_jax.ops.conv_geometry import Pads
from cnn_jax.ops.convolution import Padding, explicit_padding, per_dimension


def max_pool(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    *,
    ceil_mode: bool = False,
) -> jax.Array:
    """The largest value in every window.

    Where the largest value occurs more than once in a window its gradient is shared among the occurrences (the
    gradient of `jnp.maximum` at equal arguments); Flax and PyTorch give all of it to the first.

    Args:
        x: [B, *spatial, C], real.
        window: size per spatial dimension, or one number for all.
        strides: step between windows; by default the window, so that windows tile x.
        padding: "SAME", "VALID", one number for every side, or (low, high) per dimension; padded with -inf.
        ceil_mode: one more window where windows leave positions over at the end, as torch.nn.MaxPool2d does: only if
            it starts inside x or the padding before x.

    Returns:
        [B, *out, C] with out = (spatial + low + high - window) // strides + 1, the quotient rounded up in ceil_mode.

    Raises:
        ValueError: sizes that do not fit the spatial dimensions of x.
    """
    window, strides, pads, out = _resolve(x, window, strides, padding, ceil_mode)
    lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return _pool_each_dimension(jnp.maximum, pad_spatial(x, pads, lowest), window, strides, out)


def avg_pool(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    *,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of every window, summed in float32 or better.

    Args:
        x: [B, *spatial, C], floating.
        window: size per spatial dimension, or one number for all.
        strides: step between windows; by default the window, so that windows tile x.
        padding: "SAME", "VALID", one number for every side, or (low, high) per dimension; padded with 0.
        count_include_pad: divide by the size of the window; else by the number of its positions inside x.

    Returns:
        [B, *out, C] with out = (spatial + low + high - window) // strides + 1.

    Raises:
        ValueError: sizes that do not fit the spatial dimensions of x.
    """
    window, strides, pads, out = _resolve(x, window, strides, padding)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    padded = pad_spatial(x, pads).astype(wide)
    if window == strides:
        inside = tuple(slice(n * k) for n, k in zip(out, window, strict=True))
        tiles = [size for pair in zip(out, window, strict=True) for size in pair]
        total = padded[:, *inside].reshape(x.shape[0], *tiles, x.shape[-1]).sum(tuple(range(2, 2 + len(tiles), 2)))
    else:
        total = _pool_each_dimension(jnp.add, padded, window, strides, out)
    count = prod(window) if count_include_pad else _inside(x.shape[1:-1], window, strides, pads, out)
    return (total / count).astype(x.dtype)


def adaptive_avg_pool(x: jax.Array, size: int | Sequence[int]) -> jax.Array:
    """The mean of every bin of a grid of `size` bins laid over x, summed in float32 or better.

    Along a dimension of length n, bin i of `size` covers the positions from floor(i n / size) up to, but without,
    ceil((i + 1) n / size), as in torch.nn.AdaptiveAvgPool2d: neighbours overlap by one position where their border
    falls inside it, and positions are repeated where `size` is larger than n.

    Args:
        x: [B, *spatial, C], floating.
        size: number of bins per spatial dimension, or one number for all.

    Returns:
        [B, *size, C].

    Raises:
        ValueError: sizes that do not fit the spatial dimensions of x.
    """
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, bins in enumerate(per_dimension("size", size, x.ndim - 2), 1):
        length = x.shape[axis]
        if length != bins:
            edges = [(i * length // bins, -(-(i + 1) * length // bins)) for i in range(bins)]
            y = jnp.stack([lax.slice_in_dim(y, *edge, axis=axis).mean(axis) for edge in edges], axis)
    return y.astype(x.dtype)


def _resolve(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None,
    padding: Padding,
    ceil_mode: bool = False,
) -> tuple[tuple[int, ...], tuple[int, ...], Pads, tuple[int, ...]]:
    """Window, strides, (low, high) pairs and output size, per spatial dimension."""
    dims, spatial = x.ndim - 2, x.shape[1:-1]
    window = per_dimension("window", window, dims)
    strides = window if strides is None else per_dimension("strides", strides, dims)
    padding = ((padding, padding),) * dims if isinstance(padding, int) else padding
    pads = explicit_padding(padding, spatial, window, strides)
    if len(pads) != dims:
        raise ValueError(f"padding must have {dims} (low, high) pairs for x of shape {x.shape}, got {padding}")
    if ceil_mode:
        pads = tuple(map(_pad_last_window, spatial, pads, window, strides))
    out = tuple((size + sum(pad) - k) // s + 1 for size, pad, k, s in zip(spatial, pads, window, strides, strict=True))
    if min(out) < 1:
        raise ValueError(f"a window of {window} does not fit into x of shape {x.shape} padded by {pads}")
    return window, strides, pads, out


def _pad_last_window(size: int, pad: tuple[int, int], window: int, stride: int) -> tuple[int, int]:
    """`pad` with what the window over the last positions lacks at the end, if it starts before the end of x."""
    low, high = pad
    beyond = (window - size - low - high) % stride
    starts = size + low + high + beyond - window
    return (low, high + beyond) if starts < low + size else pad


def _pool_each_dimension(
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    out: Sequence[int],
) -> jax.Array:
    """Combine the positions of every window of (padded) x [B, *spatial, C]: rows first, then columns, and so on."""
    dims = len(window)
    for i in range(dims):
        size = (*out[: i + 1], *x.shape[i + 2 : -1])
        slices = shifted_windows(x, _only(i, window), _only(i, strides), (1,) * dims, size)
        x = lax.optimization_barrier(reduce(combine, slices))  # a fusion would redo one dimension for each of the next
    return x


def _only(i: int, values: Sequence[int]) -> tuple[int, ...]:
    """1 in all places but the i-th."""
    return tuple(value if j == i else 1 for j, value in enumerate(values))


def _inside(
    spatial: Sequence[int], window: Sequence[int], strides: Sequence[int], pads: Pads, out: Sequence[int]
) -> np.ndarray:
    """How many positions of each window lie inside x: [*out, 1] float32."""
    count = np.ones((1,), np.float32)
    for size, k, s, (low, _), n in zip(spatial, window, strides, pads, out, strict=True):
        start = np.arange(n) * s - low
        inside = np.minimum(start + k, size) - np.maximum(start, 0)
        count = count[..., None, :] * inside[:, None].astype(np.float32)
    return count
