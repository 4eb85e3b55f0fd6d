"""What a poorer camera does to images: noise, blur, and fewer pixels. Values change, nothing moves.

Defaults of probabilities and ranges are nnU-Net's (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, supplementary
note 2.3); its noise is in standard deviations of the image, here it is in units of the range [0, 1].
"""

import math

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import (
    between,
    fold,
    images,
    materialise,
    per_image,
    require,
    uniform,
    unit_images,
    with_range_of,
)
from cnn_jax.batch import Batch


def noise(
    keys: jax.Array, batch: Batch, *, deviation: tuple[float, float] = (0.0, 0.1), probability: float = 0.1
) -> Batch:
    """With `probability`, add Gaussian noise to images in [0, 1] and cut them to that range again.

    deviation: its standard deviation, drawn evenly; each channel of each pixel has a number of its own.
    """
    unit_images(batch, "noise")
    _check("noise", "deviation", deviation, 0.0, probability)
    u = uniform(keys, 2)
    size = per_image(jnp.where(u[:, 0] < probability, between(u[:, 1], *deviation), 0))

    def noisy(image: jax.Array) -> jax.Array:
        drawn = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:], jnp.float32))(fold(keys, 1))
        return jnp.clip(image + size * drawn, 0, 1)

    return with_range_of(batch, (0.0, 1.0)).map(noisy, "image")


def blur(keys: jax.Array, batch: Batch, *, sigma: tuple[float, float] = (0.5, 1.0), probability: float = 0.2) -> Batch:
    """With `probability`, smooth by a Gaussian; beyond the border an image is as at its edge.

    sigma: its standard deviation in pixels, drawn evenly. It is cut off at three times the largest.
    """
    images(batch, "blur")
    _check("blur", "sigma", sigma, 0.1, probability)
    u = uniform(keys, 2)
    reach = math.ceil(3 * sigma[1])
    offsets = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
    weights = jnp.exp(-0.5 * (offsets / between(u[:, 1], *sigma)[:, None]) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)

    def blurred(image: jax.Array) -> jax.Array:
        result = image
        for axis in (1, 2):
            length = image.shape[axis]
            wide = jnp.pad(result, [(reach, reach) if axis == k else (0, 0) for k in range(4)], mode="edge")
            moved = [jax.lax.slice_in_dim(wide, k, k + length, axis=axis) for k in range(2 * reach + 1)]
            parts = [per_image(weights[:, k]) * part for k, part in enumerate(moved)]
            result = materialise(sum(parts[1:], parts[0]))
        return jnp.where(per_image(u[:, 0] < probability), result, image)

    return batch.map(blurred, "image")


def low_resolution(
    keys: jax.Array, batch: Batch, *, factor: tuple[float, float] = (0.5, 1.0), probability: float = 0.25
) -> Batch:
    """With `probability`, show an image as it is after shrinking to the nearest pixels and enlarging again, linearly.

    factor: by which the sides are shrunk, drawn evenly.
    """
    images(batch, "low_resolution")
    _check("low_resolution", "factor", factor, 0.01, probability)
    require(factor[1] <= 1, f"low_resolution factor must be at most 1; got {factor}")
    u = uniform(keys, 2)
    shrunk = between(u[:, 1], *factor)

    def coarse(image: jax.Array) -> jax.Array:
        result = image
        for axis in (1, 2):
            length = image.shape[axis]
            count = jnp.maximum(jnp.round(length * shrunk), 1)[:, None]
            place = (jnp.arange(length, dtype=jnp.float32) + 0.5) * count / length - 0.5
            first = jnp.floor(place)
            share = (place - first).reshape(-1, *(length if axis == k else 1 for k in (1, 2)), 1)
            result = (1 - share) * _read(result, first, count, axis) + share * _read(result, first + 1, count, axis)
        return jnp.where(per_image(u[:, 0] < probability), result, image)

    return batch.map(coarse, "image")


def _read(image: jax.Array, place: jax.Array, count: jax.Array, axis: int) -> jax.Array:
    """Rows or columns of images [B, H, W, C] at places [B, N] of `count` [B, 1] that are spread over the side."""
    length = image.shape[axis]
    pixel = jnp.floor((jnp.clip(place, 0, count - 1) + 0.5) * length / count).astype(jnp.int32)
    return jax.vmap(lambda one, index: jnp.take(one, index, axis=axis - 1, mode="clip"))(image, pixel)


def _check(augmentation: str, name: str, span: tuple[float, float], least: float, probability: float) -> None:
    fits = least <= span[0] <= span[1] < math.inf
    require(fits, f"{augmentation} {name} must be {least:g} <= low <= high; got {span}")
    require(0 <= probability <= 1, f"{augmentation} probability must lie in [0, 1]; got {probability}")
