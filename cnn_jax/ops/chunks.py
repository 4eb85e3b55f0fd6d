"""Padding, shifted windows, and computing on a CPU: in chunks that stay in its cache, and once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def pad_spatial(x: jax.Array, padding: Sequence[tuple[int, int]], value: float = 0.0) -> jax.Array:
    """x [B, *spatial, C] padded by (low, high) per spatial dimension; negative numbers crop."""
    if not any(low or high for low, high in padding):
        return x
    config = ((0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0))
    return lax.pad(x, jnp.asarray(value, x.dtype), config)


def with_zeros(x: jax.Array, padding: Sequence[tuple[int, int]]) -> jax.Array:
    """The same with zeros, as copies of whole rows: faster where nothing else is fused with it."""
    for axis, sides in enumerate(padding, 1):
        low, high = (jnp.zeros_like(x, shape=(*x.shape[:axis], max(n, 0), *x.shape[axis + 1 :])) for n in sides)
        if low.size or high.size:
            x = lax.optimization_barrier(jnp.concatenate([low, x, high], axis))
    return pad_spatial(x, [(min(low, 0), min(high, 0)) for low, high in padding])


def shifted_windows(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], dilation: Sequence[int], out: Sequence[int]
) -> list[jax.Array]:
    """For every position of the window, in row-major order, the [B, *out, C] slice of (padded) x which it sees."""
    slices = []
    for position in np.ndindex(*window):
        start = [i * d for i, d in zip(position, dilation, strict=True)]
        stop = [a + (size - 1) * s + 1 for a, size, s in zip(start, out, strides, strict=True)]
        slices.append(lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1)))
    return slices


def chunk_size(batch: int, bytes_each: int, bytes_allowed: int) -> int:
    """The largest divisor of the batch whose examples fit in the bytes allowed (at least 1)."""
    size = max(1, min(batch, bytes_allowed // max(bytes_each, 1)))
    while batch % size:
        size -= 1
    return size


def map_chunks(f: Callable[[jax.Array], jax.Array], x: jax.Array, bytes_each: int, bytes_allowed: int) -> jax.Array:
    """f(x) for f that treats the examples of x [B, ...] separately, a chunk at a time; computed once."""
    size = chunk_size(x.shape[0], bytes_each, bytes_allowed)
    if size == x.shape[0]:
        return compute_once(f, x)
    y = lax.map(f, _split(x, size))
    return y.reshape(x.shape[0], *y.shape[2:])


def sum_chunks(f: Callable[..., Any], arrays: tuple[jax.Array, ...], bytes_each: int, bytes_allowed: int) -> Any:
    """f(*arrays), one array or several, for f that sums over the examples of its arrays [B, ...], a chunk at a time."""
    size = chunk_size(arrays[0].shape[0], bytes_each, bytes_allowed)
    if size == arrays[0].shape[0]:
        return f(*arrays)
    chunks = tuple(_split(array, size) for array in arrays)
    f = jax.jit(f, inline=True)  # so that it is traced once for its shapes and for the loop
    total = jax.eval_shape(lambda *chunks: f(*(chunk[0] for chunk in chunks)), *chunks)
    start = jax.tree.map(partial(_zeros, like=arrays[0]), total)
    return lax.scan(lambda carry, chunk: (jax.tree.map(jnp.add, carry, f(*chunk)), None), start, chunks)[0]


def compute_once(f: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """f(*arrays), computed once and stored.

    XLA's CPU backend would compute an elementwise f again inside every operation that reads its result, those of the
    backward pass included; an optimization barrier does not stop it, a branch whose condition it cannot fold does.
    """
    f = jax.jit(f, inline=True)  # so that it is traced once for its shape and for the branch
    result = jax.eval_shape(f, *arrays)
    always = lax.optimization_barrier(jnp.array(True))
    return lax.cond(always, f, lambda *arrays: _zeros(result, like=arrays[0]), *arrays)


def _zeros(shape: jax.ShapeDtypeStruct, like: jax.Array) -> jax.Array:
    """Zeros that, inside shard_map, vary over the same mesh axes as `like`."""
    axes = tuple(jax.typeof(like).manual_axis_type.varying)
    return lax.pcast(jnp.zeros(shape.shape, shape.dtype), axes, to="varying")


def _split(x: jax.Array, size: int) -> jax.Array:
    return x.reshape(x.shape[0] // size, size, *x.shape[1:])
