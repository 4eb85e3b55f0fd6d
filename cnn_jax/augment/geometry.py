"""Augmentations that move pixels, and with them maps, boxes and points: flip, shift, crop, rotate, scale.

Each hands `affine.moved` its map as a matrix. A flip and a shift are copies of an image, not interpolations.
`visible` is the share of a box that must be left in the image for the box to count, as `affine.moved` has it.
"""

import math

import jax
import jax.numpy as jnp

from cnn_jax.augment.affine import matrix, moved, sample, warped
from cnn_jax.augment.draw import (
    Fill,
    between,
    box_mask,
    box_sizes,
    colour_of,
    extent,
    images,
    integer,
    log_between,
    per_image,
    require,
    uniform,
    with_range_of,
)
from cnn_jax.batch import Batch


def flip(keys: jax.Array, batch: Batch, *, probability: float = 0.5) -> Batch:
    """Mirror left and right with `probability`."""
    require(0 <= probability <= 1, f"flip probability must lie in [0, 1]; got {probability}")
    mirrored = uniform(keys) < probability
    one, zero = jnp.ones(len(keys), jnp.float32), jnp.zeros(len(keys), jnp.float32)
    mirror = matrix((one, zero, zero), (zero, jnp.where(mirrored, -1.0, 1.0), zero))
    return moved("flip", batch, mirror, lambda image: jnp.where(per_image(mirrored), image[:, :, ::-1], image))


def shift(
    keys: jax.Array,
    batch: Batch,
    *,
    pixels: int = 4,
    padding: str = "constant",
    fill: Fill = 0.0,
    visible: float = 0.1,
) -> Batch:
    """Pad by `pixels` on each side and crop the original size at a random place (He et al. 2016, section 4.2).

    padding: "constant" shows `fill` outside, "reflect" mirrors without repeating the border, "edge" repeats it. Under
    any of them a class map is IGNORED there: what an image shows twice has no second box or label.
    """
    images(batch, "shift")
    height, width = extent(batch, "shift")
    require(padding in ("constant", "reflect", "edge"), f"padding is constant, reflect or edge; got {padding!r}")
    limit = min(height, width) - (1 if padding == "reflect" else 0)
    require(0 <= pixels <= limit, f"shift of {pixels} pixels does not suit images of {height} x {width}")
    offset = integer(uniform(keys, 2), 2 * pixels + 1)
    top, left = pixels - offset[:, 0], pixels - offset[:, 1]

    def crop(image: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], jnp.int32(0)), (height, width, image.shape[-1]))

    def shifted(image: jax.Array) -> jax.Array:
        border = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
        result = jax.vmap(crop)(jnp.pad(image, border, mode=padding), offset)
        if padding == "constant" and fill != 0:
            inside = box_mask(top, left, top + height, left + width, height, width)
            result = jnp.where(inside, result, colour_of(fill, image))
        return result

    one, zero = jnp.ones(len(keys), jnp.float32), jnp.zeros(len(keys), jnp.float32)
    way = matrix((one, zero, -top.astype(jnp.float32)), (zero, one, -left.astype(jnp.float32)))
    batch = with_range_of(batch, fill) if padding == "constant" else batch
    return moved("shift", batch, way, shifted, visible=visible)


def random_resized_crop(
    keys: jax.Array,
    batch: Batch,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    visible: float = 0.1,
) -> Batch:
    """Cut a random box and stretch it to the image's own size (Szegedy et al. 2015, section 6).

    area: shares of the image, drawn uniformly. aspect: width over height, drawn log-uniformly. Edges are not rounded to
    pixels; positions between the border and its pixels' centres show the border pixel.
    """
    images(batch, "random_resized_crop")
    height, width = extent(batch, "random_resized_crop")
    u = uniform(keys, 11, 2)
    heights, widths = box_sizes(u[:, 1:], height, width, area, aspect)
    tops, lefts = u[:, 0, 0] * (height - heights), u[:, 0, 1] * (width - widths)

    def cropped(image: jax.Array) -> jax.Array:
        rows = tops[:, None] + (jnp.arange(height, dtype=jnp.float32) + 0.5) * (heights / height)[:, None] - 0.5
        columns = lefts[:, None] + (jnp.arange(width, dtype=jnp.float32) + 0.5) * (widths / width)[:, None] - 0.5
        grid = (len(keys), height, width)
        rows = jnp.broadcast_to(jnp.clip(rows, 0, height - 1)[:, :, None], grid)
        columns = jnp.broadcast_to(jnp.clip(columns, 0, width - 1)[:, None, :], grid)
        return sample(image, rows, columns)

    zero = jnp.zeros(len(keys), jnp.float32)
    down, right = tops + (heights - height) / 2, lefts + (widths - width) / 2  # from centre to centre
    way = matrix((heights / height, zero, down), (zero, widths / width, right))
    return moved("random_resized_crop", batch, way, cropped, visible=visible)


def rotate(keys: jax.Array, batch: Batch, *, degrees: float = 15.0, fill: Fill = 0.0, visible: float = 0.1) -> Batch:
    """Turn about the centre by an angle uniform in [-degrees, degrees]; positive turns counter-clockwise."""
    angle = between(uniform(keys), -1.0, 1.0) * math.radians(degrees)
    cos, sin, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    return warped("rotate", batch, matrix((cos, sin, zero), (-sin, cos, zero)), fill, visible)


def scale(
    keys: jax.Array,
    batch: Batch,
    *,
    factor: tuple[float, float] = (0.8, 1.25),
    fill: Fill = 0.0,
    visible: float = 0.1,
) -> Batch:
    """Zoom about the centre by a factor log-uniform in `factor`; above 1 enlarges, below 1 shows `fill` around."""
    require(0 < factor[0] <= factor[1], f"scale factor must be 0 < low <= high; got {factor}")
    step = 1 / log_between(uniform(keys), *factor)
    zero = jnp.zeros_like(step)
    return warped("scale", batch, matrix((step, zero, zero), (zero, step, zero)), fill, visible)
