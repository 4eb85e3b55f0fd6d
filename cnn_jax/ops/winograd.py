"""Winograd's minimal filtering for 3x3 convolutions of stride 1 (Lavin and Gray 2016, arXiv:1509.09308).

An m x m tile of outputs is Y = A^T [(G g G^T) . (B^T d B)] A, where d is an (m + 2) x (m + 2) tile of inputs and g the
kernel; summed over input channels the middle product is one matrix product per tile position. It needs
(m + 2)^2 / (9 m^2) of the multiplications: 4 / 9 for m = 2, 1 / 4 for m = 4.

What rounding does depends on the points where the polynomials are evaluated (Barabasz et al. 2020, arXiv:1803.10986).
With +-3/4 and +-3/2 in place of the usual +-1 and +-2, m = 4 is about four times as exact: its relative error in
float32 is about 3e-6, that of m = 2 below 1e-6.

The optimization barriers keep XLA from fusing the two 1-D passes of a transform, which would compute the first pass
m + 2 times over. Each transform is a jitted function, so that layers and directions with arrays of one shape share what
Python traces and lowers of it: that is a quarter of the time of compilation.
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.chunks import map_chunks, pad_spatial, sum_chunks
from cnn_jax.ops.conv_geometry import Geometry, Pads


def _matrices(*points: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B^T, G, A^T) of F(m, 3), from m + 1 points and infinity, by the construction of Toom and Cook."""
    n = len(points)
    inputs, kernel, output = np.zeros((n + 1, n + 1)), np.zeros((n + 1, 3)), np.zeros((n - 1, n + 1))
    for j, point in enumerate(points):
        others = [other for other in points if other != point]
        inputs[j, :-1] = np.poly(others)[::-1]
        kernel[j] = point ** np.arange(3.0) / np.prod(point - np.array(others))
        output[:, j] = point ** np.arange(n - 1.0)
    inputs[-1] = np.poly(points)[::-1]
    kernel[-1, -1] = output[-1, -1] = 1
    return inputs, kernel, output


TRANSFORMS = {2: _matrices(0, 1, -1), 4: _matrices(0, 0.75, -0.75, 1.5, -1.5)}
INPUT, KERNEL, OUTPUT = ({m: matrices[i] for m, matrices in TRANSFORMS.items()} for i in range(3))
CHUNK_BYTES = 2 << 20  # transformed tiles per chunk: about what the second and third level caches keep


def winograd_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry, m: int, flipped: bool = False) -> jax.Array:
    """x [B, H, W, C], kernel [3, 3, C, D] -> y [B, H', W', D] in m x m tiles; stride 1, dilation 1, one group.

    A kernel [3, 3, D, C] is flipped in space and its channels are swapped on the way, as an input gradient wants it,
    which costs nothing here.
    """
    kernels, pads = _transform_kernel(kernel, m, flipped), _pads(geometry, m)

    def chunk(x: jax.Array) -> jax.Array:
        products = lax.dot_general(
            _transform_input(x, pads, m), kernels, (((2,), (2 if flipped else 1,)), ((0,), (0,)))
        )
        return _transform_output(products, m, (x.shape[0], *geometry.out_spatial))

    return map_chunks(chunk, x, *_chunk_budget(geometry, m))


def winograd_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry, m: int) -> jax.Array:
    """x [B, H, W, C], dy [B, H', W', D] -> dkernel [3, 3, C, D]: every transform above, transposed."""
    (c, d), pads = geometry.channels, _pads(geometry, m)

    def chunk(x: jax.Array, dy: jax.Array) -> jax.Array:
        tiles, cotangents = _transform_input(x, pads, m), _transform_cotangent(dy, m)
        return lax.dot_general(tiles, cotangents, (((1,), (1,)), ((0,), (0,))))

    products = sum_chunks(chunk, (x, dy), *_chunk_budget(geometry, m)).reshape((m + 2) ** 2, c * d)
    return (_both_ways(m, products.dtype).T @ products).reshape(3, 3, c, d)


def _pads(geometry: Geometry, m: int) -> Pads:
    """So that whole tiles cover the output."""
    return tuple(
        (low, -(-out // m) * m + 2 - size - low)
        for (low, _), out, size in zip(geometry.padding, geometry.out_spatial, geometry.spatial, strict=True)
    )


def _chunk_budget(geometry: Geometry, m: int) -> tuple[int, int]:
    """Bytes of transformed tiles per example (mean of input and output side), and bytes allowed per chunk."""
    channels = geometry.channels
    tiles = -(-geometry.out_spatial[0] // m) * -(-geometry.out_spatial[1] // m)
    positions = (m + 2) ** 2
    return 4 * positions * tiles * sum(channels) // 2, max(CHUNK_BYTES, 4 * positions * channels[0] * channels[1])


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """The matrix-vector product with arrays as entries of the vector; no multiplication by 0 or 1 is left."""

    def term(factor: float, part: jax.Array) -> jax.Array:  # of lax, whose functions are traced at once
        if abs(factor) == 1:
            return part if factor > 0 else lax.neg(part)
        return lax.mul(part, lax.full_like(part, factor))

    return [reduce(lax.add, [term(c, part) for c, part in zip(row, parts, strict=True) if c]) for row in matrix]


@partial(jax.jit, static_argnums=(1, 2))
def _transform_kernel(kernel: jax.Array, m: int, flipped: bool) -> jax.Array:
    """kernel [3, 3, C, D] -> G g G^T [(m + 2)^2, C, D]."""
    product = _both_ways(m, kernel.dtype, flipped) @ kernel.reshape(9, -1)
    return lax.optimization_barrier(product.reshape(-1, *kernel.shape[2:]))


def _both_ways(m: int, dtype: jnp.dtype, flipped: bool = False) -> jax.Array:
    """G for rows and columns as one matrix: for kernels, whose positions lie far apart in memory, a product with it is
    faster than sums. It is computed, as what is partitioned may hold no constant arrays."""
    matrix = KERNEL[m][:, ::-1] if flipped else KERNEL[m]
    one_way = jnp.stack(_combine(matrix, list(jnp.eye(3, dtype=dtype))))
    return jnp.kron(one_way, one_way)


@partial(jax.jit, static_argnums=(1, 2))
def _transform_input(x: jax.Array, pads: Pads, m: int) -> jax.Array:
    """x [B, H, W, C] -> B^T d B [(m + 2)^2, B * tiles, C]."""
    x = pad_spatial(x, pads)
    height, width, channels = x.shape[1:]
    rows = _combine(INPUT[m], [x[:, i : height - m - 1 + i : m] for i in range(m + 2)])
    tall = lax.optimization_barrier(jnp.stack(rows))
    both = _combine(INPUT[m], [tall[:, :, :, j : width - m - 1 + j : m] for j in range(m + 2)])
    return lax.optimization_barrier(jnp.stack(both, 1).reshape((m + 2) ** 2, -1, channels))


@partial(jax.jit, static_argnums=(1, 2))
def _transform_output(products: jax.Array, m: int, shape: tuple[int, int, int]) -> jax.Array:
    """products [(m + 2)^2, B * tiles, D] -> y [*shape, D], A^T M A of every tile put in its place."""
    batch, height, width = shape
    down, across, channels = -(-height // m), -(-width // m), products.shape[-1]
    products = lax.optimization_barrier(products).reshape(m + 2, m + 2, batch, down, across, channels)
    rows = lax.optimization_barrier(jnp.stack(_combine(OUTPUT[m], list(products))))
    both = jnp.stack(_combine(OUTPUT[m], [rows[:, j] for j in range(m + 2)]))  # [column, row, B, down, across, D]
    y = both.transpose(2, 3, 1, 4, 0, 5).reshape(batch, down * m, across * m, channels)
    return y[:, :height, :width]


@partial(jax.jit, static_argnums=1)
def _transform_cotangent(dy: jax.Array, m: int) -> jax.Array:
    """dy [B, height, width, D] -> A dY A^T [(m + 2)^2, B * tiles, D]."""
    height, width = dy.shape[1:3]
    dy = pad_spatial(dy, ((0, -height % m), (0, -width % m)))
    rows = lax.optimization_barrier(jnp.stack(_combine(OUTPUT[m].T, [dy[:, i::m] for i in range(m)])))
    both = jnp.stack(_combine(OUTPUT[m].T, [rows[:, :, :, j::m] for j in range(m)]), 1)
    return lax.optimization_barrier(both.reshape((m + 2) ** 2, -1, dy.shape[-1]))
