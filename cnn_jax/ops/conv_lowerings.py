"""How a convolution is computed on a CPU: one small rule per direction, and the algorithms it chooses from.

What the rules rest on (measured, one Zen 4 core, XLA of jax 0.10): matrix products and plain stride-1 convolutions
reach 80 to 105 GFLOP/s. XLA's own weight gradient runs at 2 to 30, its strided input gradient and its convolutions
between few channels leave the fast library, and its depthwise weight gradient first computes a dense one. All
algorithms are exact but for rounding. All was measured in float32, and bytes are counted as of float32; in float64, for
which XLA has no fast convolution at all, the same rules are faster still.
"""

from collections.abc import Callable
from functools import partial, reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.chunks import chunk_size, map_chunks, pad_spatial, shifted_windows, sum_chunks, with_zeros
from cnn_jax.ops.conv_geometry import Geometry, stock_forward, stock_input_gradient, stock_weight_gradient
from cnn_jax.ops.winograd import winograd_forward, winograd_weight_gradient

Lowering = Callable[[jax.Array, jax.Array, Geometry], jax.Array]

MAX_SHIFTS = 49  # more window positions than this are not unrolled as shifted multiply-adds
MAX_PATCHES = 128  # nor as patches
WINOGRAD_CHANNELS = 32  # with fewer channels the transforms cost more than the products save
FEW_CHANNELS = 16  # XLA's fast library wants more, of one side or the other
CHANNELS_IN_ORDER = 8  # fewer channels are too short to copy one position at a time
ROWS_PER_SHIFT = 8  # each row of zeros beside this many is work for nothing
PATCH_BYTES = 1 << 20  # patches per chunk: about one second level cache
SUM_BYTES = 4 << 20  # partial sums of a depthwise weight gradient
TALL_ROWS = 4096  # rows per chunk of a product over batch and positions
FEW_PHASES = 16  # a program of a convolution for each of more phases takes long to compile


def forward_lowering(geometry: Geometry) -> Lowering:
    """The rule for y = x * kernel."""
    if geometry.pointwise:
        return pointwise_forward
    if geometry.depthwise and prod(geometry.window) <= MAX_SHIFTS:
        return shifted_forward
    if tile := winograd_tile(geometry):
        return partial(winograd_forward, m=tile)
    if suits_pairs(geometry):
        return paired_forward
    return native_forward


def input_gradient_lowering(geometry: Geometry) -> Lowering:
    """The rule for dx."""
    if geometry.pointwise:
        return pointwise_input_gradient
    if geometry.unit_strides:
        return flipped_input_gradient
    if geometry.unit_dilation and geometry.groups == 1 and max(geometry.strides) > 2:
        return folded_input_gradient
    if geometry.unit_dilation and prod(geometry.strides) <= FEW_PHASES:
        return phased_input_gradient
    return stock_input_gradient


def weight_gradient_lowering(geometry: Geometry) -> Lowering:
    """The rule for dkernel."""
    if geometry.pointwise:
        return pointwise_weight_gradient
    if prod(geometry.window) > MAX_PATCHES:
        return stock_weight_gradient
    if geometry.depthwise:
        return depthwise_weight_gradient
    if tile := winograd_tile(geometry):
        return partial(winograd_weight_gradient, m=tile)
    if geometry.groups > 1:
        return grouped_weight_gradient
    if geometry.unit_strides and geometry.x_shape[-1] < CHANNELS_IN_ORDER:
        return channel_first_weight_gradient
    if geometry.strides[0] == 1 and geometry.out_spatial[0] >= ROWS_PER_SHIFT * (geometry.window[0] - 1):
        return two_sided_weight_gradient
    return patches_weight_gradient


def winograd_tile(geometry: Geometry) -> int:
    """4 or 2 for 3x3 windows of stride 1 with enough channels to pay for the transforms, and enough tiles to pay for
    those of the kernel; else 0."""
    plain = geometry.window == (3, 3) and geometry.unit_strides and geometry.unit_dilation and geometry.groups == 1
    if plain and geometry.winograd and min(geometry.channels) >= WINOGRAD_CHANNELS and min(geometry.out_spatial) >= 4:
        for tile, tiles_per_channel in ((4, 1 / 4), (2, 1 / 8)):
            tiles = geometry.batch * prod(-(-size // tile) for size in geometry.out_spatial)
            if tiles >= tiles_per_channel * max(geometry.channels):
                return tile
    return 0


def suits_pairs(geometry: Geometry) -> bool:
    """So few channels that XLA leaves its fast library, and rows of outputs that fall into pairs."""
    few = max(geometry.channels) <= FEW_CHANNELS or geometry.x_shape[-1] in (2, 3)
    last = geometry.strides[-1] == geometry.dilation[-1] == 1 and geometry.window[-1] % 2 == 1 < geometry.window[-1]
    return few and last and geometry.groups == 1 and geometry.out_spatial[-1] % 2 == 0


def native_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """XLA's convolution. It leaves its fast library when the output or the window is larger than x: pad first then.
    And it takes two to three times as long where nothing is padded: one row more, which is dropped, is cheaper."""
    if any(
        out > size or k > size
        for out, size, k in zip(geometry.out_spatial, geometry.spatial, geometry.window, strict=True)
    ):
        x = lax.optimization_barrier(pad_spatial(x, geometry.padding))
        geometry = geometry._replace(x_shape=x.shape, padding=((0, 0),) * len(geometry.padding))
    rows = geometry.out_spatial[0]
    if rows > 1 and geometry.unit_strides and not any(map(any, geometry.padding)):
        return stock_forward(x, kernel, geometry._replace(padding=((0, 1), *geometry.padding[1:])))[:, :rows]
    return stock_forward(x, kernel, geometry)


def paired_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """A convolution of pairs of neighbouring pixels in a row, which have twice the channels and are there already:
    [B, H, W, C] is [B, H, W / 2, 2 C] in memory. Two outputs of an odd window of k see k + 1 pixels, (k + 1) / 2 pairs;
    one in k + 1 taps of the wider kernel is zero."""
    (*window, k, c, d), (*pads, columns) = kernel.shape, geometry.padding
    x = with_zeros(x, [*((0, 0) for _ in pads), columns])
    pairs = x.reshape(*x.shape[:-2], x.shape[-2] // 2, 2 * c)
    rows = [(0, 0)] * len(window)
    both = jnp.stack([jnp.pad(kernel, [*rows, shift, (0, 0), (0, 0)]) for shift in ((0, 1), (1, 0))], -2)
    wider = lax.optimization_barrier(both.reshape(*window, (k + 1) // 2, 2 * c, 2 * d))
    geometry = geometry._replace(x_shape=pairs.shape, kernel_shape=wider.shape, padding=(*pads, (0, 0)))
    y = native_forward(pairs, wider, geometry)
    return y.reshape(*y.shape[:-2], y.shape[-2] * 2, d)


# A window of one position: a matrix product over channels.


def pointwise_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Keep the positions that the strides visit, then x @ kernel."""
    c, d = geometry.channels
    return (_visited(x, geometry).reshape(-1, c) @ kernel.reshape(c, d)).reshape(geometry.out_shape)


def pointwise_input_gradient(dy: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """dy @ kernel^T, with zeros at the positions that the strides skipped."""
    c, d = geometry.channels
    dx = (dy.reshape(-1, d) @ kernel.reshape(c, d).T).reshape(*dy.shape[:-1], c)
    config = [
        (-low, size + low - (out - 1) * s - 1, s - 1)
        for (low, _), size, out, s in zip(
            geometry.padding, geometry.spatial, geometry.out_spatial, geometry.strides, strict=True
        )
    ]
    return lax.pad(dx, jnp.zeros((), dx.dtype), ((0, 0, 0), *config, (0, 0, 0)))


def pointwise_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """x^T @ dy over batch and positions, computed as (dy^T @ x)^T, whose rows XLA reads in order."""
    c, d = geometry.channels
    rows, columns = dy.reshape(-1, d), _visited(x, geometry).reshape(-1, c)

    def chunk(rows: jax.Array, columns: jax.Array) -> jax.Array:
        return lax.dot_general(rows, columns, (((0,), (0,)), ((), ())))

    if rows.shape[0] <= TALL_ROWS:
        total = chunk(rows, columns)
    else:
        total = sum_chunks(
            chunk, (rows, columns), 4 * (c + d), min(TALL_ROWS * 4 * (c + d), max(PATCH_BYTES, 4 * c * d))
        )
    return total.T.reshape(geometry.kernel_shape)


def _visited(x: jax.Array, geometry: Geometry) -> jax.Array:
    x = pad_spatial(x, geometry.padding)
    return shifted_windows(x, geometry.window, geometry.strides, geometry.dilation, geometry.out_spatial)[0]


# One input channel per output channel: no product over channels, so multiply and add shifted inputs.


def shifted_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """y = sum over window positions of (x shifted) * kernel[position]."""
    taps = kernel.reshape(-1, kernel.shape[-1])

    def chunk(x: jax.Array) -> jax.Array:
        return sum(part * weight for part, weight in zip(_windows(x, geometry), taps, strict=True))

    bytes_each = 4 * max(prod(geometry.x_shape[1:]), prod(geometry.out_shape[1:]))
    return map_chunks(chunk, x, bytes_each, PATCH_BYTES)


def depthwise_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """dkernel[position] = sum over batch and positions of (x shifted) * dy.

    The sum runs over examples, and over blocks of rows, elementwise, so that the processor works on whole vectors;
    the rows and columns of what is left are summed at the end.
    """
    height = geometry.out_spatial[0]
    row_bytes = 4 * prod(geometry.window) * prod(geometry.out_shape[2:])
    rows = chunk_size(height, row_bytes, SUM_BYTES)

    def one_example(x: jax.Array, dy: jax.Array) -> tuple[jax.Array, ...]:
        blocks = [slice(i, i + rows) for i in range(0, height, rows)]
        return tuple(reduce(jnp.add, [part[0, i] * dy[0, i] for i in blocks]) for part in _windows(x, geometry))

    sums = sum_chunks(one_example, (x, dy), 1, 1)
    return jnp.stack([part.sum(tuple(range(part.ndim - 1))) for part in sums]).reshape(geometry.kernel_shape)


def _windows(x: jax.Array, geometry: Geometry) -> list[jax.Array]:
    padded = lax.optimization_barrier(pad_spatial(x, geometry.padding))
    return shifted_windows(padded, geometry.window, geometry.strides, geometry.dilation, geometry.out_spatial)


# Input gradients as convolutions of stride 1, which take the forward rule again.


def flipped_input_gradient(dy: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Stride 1: dx = dy * (kernel flipped in space, its channels swapped)."""
    padding = tuple(
        ((k - 1) * d - low, size - out + low)
        for k, d, (low, _), size, out in zip(
            geometry.window, geometry.dilation, geometry.padding, geometry.spatial, geometry.out_spatial, strict=True
        )
    )
    *window, c, d = geometry.kernel_shape
    shape = (*window, d // geometry.groups, c * geometry.groups)
    inner = geometry._replace(x_shape=dy.shape, kernel_shape=shape, padding=padding)
    if tile := winograd_tile(inner):
        return winograd_forward(dy, kernel, inner, tile, flipped=True)
    flipped = lax.optimization_barrier(_swap_channels(jnp.flip(kernel, range(kernel.ndim - 2)), geometry.groups))
    return _forward(dy, flipped, inner)


def phased_input_gradient(dy: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Stride s: positions of dx that are equal modulo s meet the same taps, so each such phase is a convolution of dy
    with every s-th tap of the kernel, at stride 1; the phases are then interleaved."""
    strides, spatial, dims = geometry.strides, geometry.spatial, len(geometry.strides)
    swapped = _swap_channels(kernel, geometry.groups)
    lengths = [-(-size // s) for size, s in zip(spatial, strides, strict=True)]
    shape = (geometry.batch, *lengths, geometry.x_shape[-1])

    def phase(remainders: tuple[int, ...]) -> jax.Array:
        # Position r + s t of dx meets tap a + s m and dy[start + t - m].
        places = [divmod(r + low, s) for r, (low, _), s in zip(remainders, geometry.padding, strides, strict=True)]
        taps = swapped[tuple(slice(a, None, s) for (_, a), s in zip(places, strides, strict=True))]
        if 0 in taps.shape:
            return jnp.zeros_like(dy, shape=shape)
        taps = lax.optimization_barrier(jnp.flip(taps, range(dims)))
        padding = tuple(
            (k - 1 - start, start + length - out)
            for k, (start, _), length, out in zip(taps.shape, places, lengths, geometry.out_spatial, strict=False)
        )
        inner = geometry._replace(x_shape=dy.shape, kernel_shape=taps.shape, strides=(1,) * dims, padding=padding)
        return _forward(dy, taps, inner)

    def interleave(remainders: tuple[int, ...]) -> jax.Array:
        axis = len(remainders)
        if axis == dims:
            return phase(remainders)
        return jnp.stack([interleave((*remainders, r)) for r in range(strides[axis])], 2 + axis)

    dx = interleave(()).reshape(shape[0], *(n * s for n, s in zip(lengths, strides, strict=True)), shape[-1])
    return pad_spatial(dx, [(0, size - n * s) for size, n, s in zip(spatial, lengths, strides, strict=True)])


def folded_input_gradient(dy: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Stride s: one product of dy with all taps gives each output's part of dx, a window cut into blocks of s; they are
    added up where they lie (col2im). Windows of at most s, as of patches, do not overlap: then nothing is added."""
    strides, dims, (c, d) = geometry.strides, len(geometry.strides), geometry.channels
    blocks = [-(-k // s) for k, s in zip(geometry.window, strides, strict=True)]
    rest = [(0, n * s - k) for n, s, k in zip(blocks, strides, geometry.window, strict=True)]
    split = [size for pair in zip(blocks, strides, strict=True) for size in pair]
    taps = jnp.pad(kernel, [*rest, (0, 0), (0, 0)]).reshape(*split, c, d)
    taps = taps.transpose(2 * dims + 1, *range(0, 2 * dims, 2), *range(1, 2 * dims, 2), 2 * dims)
    taps = lax.optimization_barrier(taps.reshape(d, -1))
    out, block = geometry.out_spatial, prod(strides) * c
    counts = [n + m - 1 for n, m in zip(out, blocks, strict=True)]

    def chunk(dy: jax.Array) -> jax.Array:
        parts = (dy.reshape(-1, d) @ taps).reshape(dy.shape[0], *out, prod(blocks), block)
        places = [
            [(i, whole - n - i) for i, whole, n in zip(position, counts, out, strict=True)]
            for position in np.ndindex(*blocks)
        ]
        return reduce(jnp.add, [pad_spatial(parts[..., i, :], place) for i, place in enumerate(places)])

    if prod(blocks) == 1:
        dx = chunk(dy)
    else:
        dx = map_chunks(chunk, dy, 4 * prod(out) * prod(blocks) * block, SUM_BYTES)
    dx = dx.reshape(-1, *counts, *strides, c)
    dx = dx.transpose(0, *(axis for i in range(dims) for axis in (1 + i, 1 + dims + i)), 1 + 2 * dims)
    sizes = [n * s for n, s in zip(counts, strides, strict=True)]
    cut = [
        (-low, size + low - whole)
        for (low, _), size, whole in zip(geometry.padding, geometry.spatial, sizes, strict=True)
    ]
    return pad_spatial(dx.reshape(-1, *sizes, c), cut)


def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    return forward_lowering(geometry)(x, kernel, geometry)


def _swap_channels(kernel: jax.Array, groups: int) -> jax.Array:
    """[*window, C / groups, D] -> [*window, D / groups, C], group by group."""
    *window, c, d = kernel.shape
    split = kernel.reshape(*window, c, groups, d // groups)
    return jnp.moveaxis(split, -3, -1).swapaxes(-3, -2).reshape(*window, d // groups, groups * c)


# Weight gradients as one matrix product of dy with the patches of x (im2col), a chunk of the batch at a time.


def patches_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """dkernel = patches^T @ dy, with patches [B * positions, taps * C]."""

    def chunk(x: jax.Array, dy: jax.Array) -> jax.Array:
        patches = jnp.concatenate(_slices(x, geometry), -1)
        patches = patches.reshape(-1, patches.shape[-1])
        return lax.dot_general(dy.reshape(-1, dy.shape[-1]), patches, (((0,), (0,)), ((), ())))

    return _sum_patches(chunk, x, dy, geometry).T.reshape(geometry.kernel_shape)


def two_sided_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """The same with the first dimension of the window on the side of dy: for 3x3 windows three copies of each operand
    in place of nine of x. Row r of x meets dy[r - i] for tap i, and zeros where there is no such row."""
    (rows, *columns), (c, d), step = geometry.window, geometry.channels, geometry.dilation[0]
    reach = (rows - 1) * step
    height, *widths = geometry.out_spatial
    size = (height + reach, *widths)
    ones = (1,) * len(columns)

    def chunk(x: jax.Array, dy: jax.Array) -> jax.Array:
        x = with_zeros(x, geometry.padding)
        dy = with_zeros(dy, ((reach, reach), *((0, 0) for _ in widths)))
        inputs = shifted_windows(x, (1, *columns), geometry.strides, geometry.dilation, size)
        cotangents = shifted_windows(dy, (rows, *ones), (1, *ones), (step, *ones), size)[::-1]
        left, right = (jnp.concatenate(parts, -1) for parts in (cotangents, inputs))
        left, right = (side.reshape(-1, side.shape[-1]) for side in (left, right))
        return lax.dot_general(left, right, (((0,), (0,)), ((), ())))

    bytes_each = 4 * prod(size) * (prod(columns) * c + rows * d)
    products = sum_chunks(chunk, (x, dy), bytes_each, max(PATCH_BYTES, 4 * prod(geometry.kernel_shape)))
    return products.reshape(rows, d, prod(columns), c).transpose(0, 2, 3, 1).reshape(geometry.kernel_shape)


def channel_first_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """The same with patches [taps * C, B * positions]: the product needs no transposed operand."""
    _, d = geometry.channels

    def chunk(x: jax.Array, dy: jax.Array) -> jax.Array:
        front = lax.optimization_barrier(jnp.moveaxis(x, -1, 0))  # [C, B, *spatial]
        slices = []
        for position in np.ndindex(*geometry.window):
            starts = [i * step for i, step in zip(position, geometry.dilation, strict=True)]
            inside = tuple(slice(a, a + n) for a, n in zip(starts, geometry.out_spatial, strict=True))
            slices.append(front[:, :, *inside])
        patches = lax.optimization_barrier(jnp.stack(slices).reshape(len(slices) * front.shape[0], -1))
        return patches @ dy.reshape(-1, d)

    return _sum_patches(chunk, x, dy, geometry).reshape(geometry.kernel_shape)


def grouped_weight_gradient(x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    """The same, as a batch of one product per group."""
    groups, (c, d) = geometry.groups, geometry.channels

    def chunk(x: jax.Array, dy: jax.Array) -> jax.Array:
        slices = [part.reshape(-1, groups, c // groups) for part in _slices(x, geometry)]
        patches = jnp.stack(slices, 2).reshape(-1, groups, len(slices) * c // groups)
        return jnp.einsum("ngd,ngk->gdk", dy.reshape(-1, groups, d // groups), patches)

    products = _sum_patches(chunk, x, dy, geometry)  # [groups, D / groups, taps * C / groups]
    return products.transpose(2, 0, 1).reshape(geometry.kernel_shape)


def _slices(x: jax.Array, geometry: Geometry) -> list[jax.Array]:
    return shifted_windows(x, geometry.window, geometry.strides, geometry.dilation, geometry.out_spatial)


def _sum_patches(chunk: Callable[..., jax.Array], x: jax.Array, dy: jax.Array, geometry: Geometry) -> jax.Array:
    bytes_each = 4 * prod(geometry.out_spatial) * prod(geometry.window) * geometry.x_shape[-1]
    bytes_allowed = max(PATCH_BYTES, 4 * prod(geometry.kernel_shape))

    def padded(x: jax.Array, dy: jax.Array) -> jax.Array:
        return chunk(with_zeros(x, geometry.padding), dy)

    return sum_chunks(padded, (x, dy), bytes_each, bytes_allowed)
