"""Augmentations that hide a part of the image: cutout and random erasing.

They change images alone: a hidden object keeps its box, its pixels in a map and its label.
"""

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import (
    Fill,
    box_mask,
    box_sizes,
    colour_of,
    fold,
    images,
    integer,
    per_image,
    require,
    uniform,
    unit_images,
    with_range_of,
)
from cnn_jax.batch import Batch


def cutout(keys: jax.Array, batch: Batch, *, size: int = 16, fill: Fill = 0.0) -> Batch:
    """Hide a square of `size` pixels around a random pixel; near a border a part falls outside (DeVries & Taylor 2017).

    The paper uses 16 for CIFAR-10 and 8 for CIFAR-100, and fills with the mean colour of the data.
    """
    images(batch, "cutout")
    require(size >= 0, f"cutout size must not be negative; got {size}")
    u = uniform(keys, 2)

    def cut(image: jax.Array) -> jax.Array:
        _, height, width, _ = image.shape
        top, left = integer(u[:, 0], height) - size // 2, integer(u[:, 1], width) - size // 2
        hidden = box_mask(top, left, top + size, left + size, height, width)
        return jnp.where(hidden, colour_of(fill, image), image)

    return with_range_of(batch, fill).map(cut, "image")


def random_erasing(
    keys: jax.Array,
    batch: Batch,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    fill: Fill | None = None,
) -> Batch:
    """With `probability`, replace a box inside the image (Zhong et al. 2017, algorithm 1).

    area: shares of the image, drawn uniformly. aspect: width over height, drawn log-uniformly, so lying and standing
    boxes are equally likely (the paper draws uniformly). fill: None puts random values per pixel and channel, in steps
    of 1 / 255 as in the data.
    """
    check = unit_images if fill is None else images
    check(batch, "random_erasing")
    require(0 <= probability <= 1, f"random_erasing probability must lie in [0, 1]; got {probability}")
    u = uniform(keys, 12, 2)

    def erased(image: jax.Array) -> jax.Array:
        _, height, width, _ = image.shape
        sides = box_sizes(u[:, 2:], height, width, area, aspect)
        heights, widths = (jnp.round(side).astype(jnp.int32) for side in sides)
        top, left = integer(u[:, 0, 0], height - heights + 1), integer(u[:, 0, 1], width - widths + 1)
        hidden = box_mask(top, left, top + heights, left + widths, height, width)
        value = _noise(fold(keys, 1), image.shape[1:]) if fill is None else colour_of(fill, image)
        return jnp.where(hidden & per_image(u[:, 1, 0] < probability), value, image)

    return with_range_of(batch, (0.0, 1.0) if fill is None else fill).map(erased, "image")


def _noise(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform values k / 255 of [B, *shape]. Four values per random word: drawing is what costs time here."""
    count = shape[0] * shape[1] * shape[2]
    words = jax.vmap(lambda key: jax.random.bits(key, (-(-count // 4),)))(keys)
    octets = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(len(keys), -1)
    return octets[:, :count].reshape(-1, *shape).astype(jnp.float32) / 255
