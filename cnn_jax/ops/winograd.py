"""Winograd's minimal filtering for 3x3 convolutions of stride 1 (Lavin and Gray 2016, arXiv:1509.09308).

An m x m tile of outputs is Y = A^T [(G g G^T) . (B^T d B)] A, where d is an (m + 2) x (m + 2) tile of inputs and g the
kernel; summed over input channels the middle product is one matrix product per tile position. It needs
(m + 2)^2 / (9 m^2) of the multiplications: 4 / 9 for m = 2, 1 / 4 for m = 4. Relative error in float32: about 2e-6 for
m = 2 and up to 2e-5 for m = 4.

The optimization barriers keep XLA from fusing the two 1-D passes of a transform, which would compute the first pass
m + 2 times over.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.chunks import map_chunks, pad_spatial, sum_chunks
from cnn_jax.ops.conv_geometry import Geometry

# B^T, G and A^T of F(m, 3), from the interpolation points 0, 1, -1 (2, -2) and infinity.
INPUT = {
    2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    4: np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
}
KERNEL = {
    2: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    4: np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
}
OUTPUT = {
    2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
    4: np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
}
CHUNK_BYTES = 2 << 20  # transformed tiles per chunk: about what the second and third level caches keep


def winograd_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """x [B, H, W, C], kernel [3, 3, C, D] -> y [B, H', W', D]; stride 1, dilation 1, one group."""
    m, (height, width) = geometry.tile, geometry.out_spatial
    kernels = _transform_kernel(kernel, m)

    def chunk(x: jax.Array) -> jax.Array:
        tiles = _transform_input(x, geometry)
        products = lax.dot_general(tiles, kernels, (((2,), (1,)), ((0,), (0,))))
        return _transform_output(products, m, x.shape[0], height, width)

    return map_chunks(chunk, x, *_chunk_budget(geometry))


def winograd_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """x [B, H, W, C], dy [B, H', W', D] -> dkernel [3, 3, C, D]: every transform above, transposed."""
    m, (c, d) = geometry.tile, geometry.channels

    def chunk(x: jax.Array, dy: jax.Array) -> jax.Array:
        return lax.dot_general(_transform_input(x, geometry), _transform_cotangent(dy, m), (((1,), (1,)), ((0,), (0,))))

    products = sum_chunks(chunk, (x, dy), *_chunk_budget(geometry)).reshape(m + 2, m + 2, c, d)
    rows = lax.optimization_barrier(jnp.stack(_combine(KERNEL[m].T, list(products))))
    return jnp.stack(_combine(KERNEL[m].T, [rows[:, j] for j in range(m + 2)]), 1)


def _chunk_budget(geometry: Geometry) -> tuple[int, int]:
    """Bytes of transformed tiles per example (mean of input and output side), and bytes allowed per chunk."""
    m, channels = geometry.tile, geometry.channels
    tiles = -(-geometry.out_spatial[0] // m) * -(-geometry.out_spatial[1] // m)
    positions = (m + 2) ** 2
    return 4 * positions * tiles * sum(channels) // 2, max(CHUNK_BYTES, 4 * positions * channels[0] * channels[1])


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """The matrix-vector product with arrays as entries of the vector; no multiplication by 0 or 1 is left."""
    rows = []
    for row in matrix:
        terms = [
            part if c == 1 else -part if c == -1 else float(c) * part for c, part in zip(row, parts, strict=True) if c
        ]
        rows.append(sum(terms[1:], terms[0]))
    return rows


def _transform_kernel(kernel: jax.Array, m: int) -> jax.Array:
    """kernel [3, 3, C, D] -> G g G^T [(m + 2)^2, C, D]."""
    rows = lax.optimization_barrier(jnp.stack(_combine(KERNEL[m], list(kernel))))
    both = jnp.stack(_combine(KERNEL[m], [rows[:, j] for j in range(3)]), 1)
    return lax.optimization_barrier(both.reshape((m + 2) ** 2, *kernel.shape[2:]))


def _transform_input(x: jax.Array, geometry: Geometry) -> jax.Array:
    """x [B, H, W, C] -> B^T d B [(m + 2)^2, B * tiles, C], padded so that whole tiles cover the output."""
    m, channels = geometry.tile, x.shape[-1]
    down, across = (-(-size // m) for size in geometry.out_spatial)
    pads = tuple(
        (low, count * m + 2 - size - low)
        for (low, _), count, size in zip(geometry.padding, (down, across), geometry.spatial, strict=True)
    )
    x = pad_spatial(x, pads)
    rows = _combine(INPUT[m], [x[:, i : i + (down - 1) * m + 1 : m] for i in range(m + 2)])
    tall = lax.optimization_barrier(jnp.stack(rows))
    both = _combine(INPUT[m], [tall[:, :, :, j : j + (across - 1) * m + 1 : m] for j in range(m + 2)])
    return lax.optimization_barrier(jnp.stack(both, 1).reshape((m + 2) ** 2, -1, channels))


def _transform_output(products: jax.Array, m: int, batch: int, height: int, width: int) -> jax.Array:
    """products [(m + 2)^2, B * tiles, D] -> y [B, height, width, D], A^T M A of every tile put in its place."""
    down, across, channels = -(-height // m), -(-width // m), products.shape[-1]
    products = lax.optimization_barrier(products).reshape(m + 2, m + 2, batch, down, across, channels)
    rows = lax.optimization_barrier(jnp.stack(_combine(OUTPUT[m], list(products))))
    both = jnp.stack(_combine(OUTPUT[m], [rows[:, j] for j in range(m + 2)]))  # [column, row, B, down, across, D]
    y = both.transpose(2, 3, 1, 4, 0, 5).reshape(batch, down * m, across * m, channels)
    return y[:, :height, :width]


def _transform_cotangent(dy: jax.Array, m: int) -> jax.Array:
    """dy [B, height, width, D] -> A dY A^T [(m + 2)^2, B * tiles, D]."""
    height, width = dy.shape[1:3]
    dy = pad_spatial(dy, ((0, -height % m), (0, -width % m)))
    rows = lax.optimization_barrier(jnp.stack(_combine(OUTPUT[m].T, [dy[:, i::m] for i in range(m)])))
    both = jnp.stack(_combine(OUTPUT[m].T, [rows[:, :, :, j::m] for j in range(m)]), 1)
    return lax.optimization_barrier(both.reshape((m + 2) ** 2, -1, dy.shape[-1]))
