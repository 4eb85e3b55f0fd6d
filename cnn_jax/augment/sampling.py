"""Images and maps read at any positions: one loop of the processor, however many pictures an example is made of.

A flat `take_along_axis` with indices known to be in bounds is what XLA's CPU backend turns into a plain loop: four of
them warp 256 images of 32x32x3 in 2 ms, where three shears by interpolation matrices take 128 ms.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import Fill, colour_of, materialise


class Copies(NamedTuple):
    """Pictures of all examples, laid out one after another: pixels [B, P, C]; of copy k of an example the first pixel,
    the height and the width, [K] each. Copy 0 is the image, each further one half as large as the one before."""

    pixels: jax.Array
    start: jax.Array
    height: jax.Array
    width: jax.Array


def sample(image: jax.Array, rows: jax.Array, columns: jax.Array, fill: Fill = 0.0) -> jax.Array:
    """Images [B, H, W, C] read bilinearly at positions rows, columns [B, h, w] (pixel centres at integers).

    Outside the image everything is `fill`. No value lies beyond the least and the greatest of its channel and `fill`,
    whatever range those have, and a pixel read at its centre is that pixel. No low-pass filter: shrinking far below
    the original size aliases.
    """
    size, height, width, channels = image.shape
    flat = materialise(image.reshape(size, height * width, channels))
    return _bilinear(flat, 0, height, width, rows, columns, colour_of(fill, image))


def sample_shrunk(
    image: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    shrink: jax.Array,
    fill: Fill = 0.0,
    *,
    most: float,
    group: int = 1,
    which: int | jax.Array = 0,
) -> jax.Array:
    """`sample` for what is shrunk, by factors `shrink` of up to `most`: from a copy of half, a quarter ... of the size.

    shrink [B, h, w] or what broadcasts to it. which: the position in its group of `group` neighbours of the example
    that a pixel shows, [B, h, w] or what broadcasts to it. A copy is read that is at least as large as what is shown
    and at most twice as large, so that nothing is skipped.
    """
    size, height, width, channels = image.shape
    copies = halved(image, max(math.ceil(math.log2(max(most, 1.0))) - 1, 0))
    level = jnp.clip(jnp.floor(jnp.log2(jnp.maximum(shrink, 1.0))), 0, len(copies.start) - 1).astype(jnp.int32)
    step = jnp.exp2(level.astype(rows.dtype))
    pixels = copies.pixels.shape[1]
    shape = rows.shape

    def grouped(values: jax.Array) -> jax.Array:
        return jnp.broadcast_to(values, shape).reshape(size // group, group * shape[1], shape[2])

    result = _bilinear(
        copies.pixels.reshape(size // group, group * pixels, channels),
        grouped(which * pixels + copies.start[level]),
        grouped(copies.height[level]),
        grouped(copies.width[level]),
        grouped((rows + 0.5) / step - 0.5),
        grouped((columns + 0.5) / step - 0.5),
        colour_of(fill, image),
    )
    return result.reshape(*shape, channels)


def halved(image: jax.Array, times: int) -> Copies:
    """Images [B, H, W, C] and `times` copies of them, each of the means of 2 x 2 pixels of the one before."""
    size, channels = len(image), image.shape[-1]
    levels = [image]
    for _ in range(times):
        height, width = levels[-1].shape[1:3]
        odd = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        even = jnp.pad(levels[-1], odd, mode="edge")
        blocks = even.reshape(size, (height + 1) // 2, 2, (width + 1) // 2, 2, channels)
        levels.append(blocks.mean(axis=(2, 4)))
    heights, widths = ([level.shape[axis] for level in levels] for axis in (1, 2))
    starts = [sum(h * w for h, w in zip(heights[:k], widths[:k], strict=True)) for k in range(len(levels))]
    pixels = jnp.concatenate([level.reshape(size, -1, channels) for level in levels], axis=1)
    return Copies(materialise(pixels), *(jnp.asarray(values, jnp.int32) for values in (starts, heights, widths)))


def nearest(
    array: jax.Array, rows: jax.Array, columns: jax.Array, outside: int, *, group: int = 1, which: int | jax.Array = 0
) -> jax.Array:
    """Maps [B, H, W] read at the pixel that a position [B, h, w] lies in; `outside` beyond the border.

    group, which: as `sample_shrunk` has them.
    """
    size, height, width = array.shape
    row, column = jnp.floor(rows + 0.5), jnp.floor(columns + 0.5)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = jnp.clip(row, 0, height - 1).astype(jnp.int32) * width + jnp.clip(column, 0, width - 1).astype(jnp.int32)
    index += which * (height * width)
    flat = array.reshape(size // group, group * height * width)
    pixel = jnp.take_along_axis(flat, index.reshape(size // group, -1), axis=1, mode="promise_in_bounds")
    return jnp.where(inside, pixel.reshape(rows.shape), jnp.asarray(outside, array.dtype))


def _bilinear(
    flat: jax.Array,
    start: int | jax.Array,
    height: int | jax.Array,
    width: int | jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    outside: jax.Array,
) -> jax.Array:
    """Positions [B, h, w] of pictures that lie in flat [B, P, C] from pixel `start` on, with `outside` around them."""
    rows, columns = jnp.clip(rows, -1, height), jnp.clip(columns, -1, width)  # keeps far positions representable
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = rows - top, columns - left
    channels = flat.shape[-1]
    result, covered = jnp.zeros((*rows.shape, channels), flat.dtype), jnp.zeros((*rows.shape, 1), flat.dtype)
    for row, row_weight in ((top, 1 - down), (top + 1, down)):
        for column, column_weight in ((left, 1 - right), (left + 1, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = jnp.where(inside, row_weight * column_weight, 0)[..., None]
            index = jnp.clip(row, 0, height - 1).astype(jnp.int32) * width
            index += start + jnp.clip(column, 0, width - 1).astype(jnp.int32)
            index = index.reshape(len(flat), -1, 1)
            pixel = jnp.take_along_axis(flat, index, axis=1, mode="promise_in_bounds").reshape(result.shape)
            result, covered = result + weight * pixel, covered + weight
    result += (1 - covered) * outside
    # Four rounded weights may sum to a hair over 1. The bounds of the four pixels themselves would cost ten times that.
    low = jnp.minimum(flat.min(axis=1)[:, None, None], outside)
    high = jnp.maximum(flat.max(axis=1)[:, None, None], outside)
    return jnp.clip(result, low, high)
