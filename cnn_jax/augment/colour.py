"""Colour: single operations on images [B, H, W, C] in [0, 1], colour jitter made of them, and gamma.

`grey`, `mean_grey` and `smooth` are what `blend` moves away from or towards, as in Pillow's ImageEnhance: contrast is
`blend(mean_grey(x), x, factor)`. `autocontrast`, `equalize`, `posterize` and `solarize` are those of Pillow's ImageOps.
C is 1 or 3. On one channel saturation and hue change nothing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import (
    between,
    log_between,
    materialise,
    per_image,
    require,
    uniform,
    unit_images,
    with_range_of,
)
from cnn_jax.batch import Batch


def blend(base: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """base + factor (image - base), cut to [0, 1]; factor [B]. 0 gives the base, 1 the image, more exaggerates."""
    factor = per_image(factor)
    return jnp.where(factor == 1, image, jnp.clip(base + factor * (image - base), 0, 1))  # the sum rounds, at 1 too


def grey(image: jax.Array) -> jax.Array:
    """Brightness [B, H, W, 1] by ITU-R 601 weights."""
    channels = image.shape[-1]
    require(channels in (1, 3), f"colour operations need 1 or 3 channels; got {channels}")
    if channels == 1:
        return image
    return 0.299 * image[..., :1] + 0.587 * image[..., 1:2] + 0.114 * image[..., 2:]


def mean_grey(image: jax.Array) -> jax.Array:
    """Mean brightness [B, 1, 1, 1] of each image."""
    return grey(image.mean(axis=1, keepdims=True).mean(axis=2, keepdims=True))  # one axis at a time is faster on CPU


def smooth(image: jax.Array) -> jax.Array:
    """A 3 x 3 mean with centre weight 5 of 13; border pixels stay as they are (Pillow's SMOOTH filter)."""
    rows = image[:, :-2] + image[:, 1:-1] + image[:, 2:]
    box = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return image.at[:, 1:-1, 1:-1].set((box + 4 * image[:, 1:-1, 1:-1]) / 13)


def turn_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Move the hue of the HSV model by turns [B] (1 is full circle), keeping saturation and value; C must be 3."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    high = image.max(axis=-1)
    chroma = high - image.min(axis=-1)
    safe = jnp.where(chroma > 0, chroma, 1)
    is_red, is_green = high == red, high == green
    difference = jnp.where(is_red, green - blue, jnp.where(is_green, blue - red, red - green))
    sector = difference / safe + jnp.where(is_red, 0, jnp.where(is_green, 2, 4)) + 6 * turns[:, None, None]
    distance = jnp.array([5.0, 3.0, 1.0], image.dtype) + materialise(sector)[..., None]
    distance -= 6 * jnp.floor(distance * (1 / 6))
    away = jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)
    return high[..., None] - chroma[..., None] * away


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretch each channel so that its least value becomes 0 and its greatest 1; a constant channel stays."""
    low, high = image.min(axis=(1, 2), keepdims=True), image.max(axis=(1, 2), keepdims=True)
    return jnp.where(high > low, (image - low) / jnp.where(high > low, high - low, 1), image)


def solarize(image: jax.Array, threshold: jax.Array) -> jax.Array:
    """Invert the values from threshold [B] on; a threshold above 1 changes nothing."""
    return jnp.where(image >= per_image(threshold), 1 - image, image)


def posterize(image: jax.Array, bits: jax.Array) -> jax.Array:
    """Keep the top bits [B] (integers 1 to 8) of the values rounded to 8 bits; 8 keep the image, unrounded too."""
    kept = (_octet(image) & per_image((0xFF << (8 - bits)) & 0xFF)) / jnp.float32(255)
    return jnp.where(per_image(bits) < 8, kept, image)


def equalize(image: jax.Array) -> jax.Array:
    """Give each channel an even histogram, over values rounded to 8 bits.

    The rule is Pillow's: a value maps to the number of smaller pixels over a step, rounded, where the step is 1/255 of
    all pixels but those of the greatest value; a channel for which that is less than one pixel stays.
    """
    size, height, width, channels = image.shape
    value = _octet(image)
    slot = materialise((value + 256 * jnp.arange(channels)).reshape(size, -1))
    empty = jnp.zeros(256 * channels, jnp.int32)
    count = jax.vmap(lambda one: empty.at[one].add(1, mode="promise_in_bounds"))(slot).reshape(size, channels, 256)
    smaller = jnp.cumsum(count, axis=-1) - count
    greatest = value.max(axis=(1, 2))[..., None]
    step = jnp.take_along_axis(smaller, greatest, axis=-1) // 255
    table = jnp.minimum((smaller + step // 2) // jnp.maximum(step, 1), 255)
    table = materialise(jnp.where(step > 0, table, jnp.arange(256)).reshape(size, -1))
    return jnp.take_along_axis(table, slot, axis=1, mode="promise_in_bounds").reshape(image.shape) / jnp.float32(255)


def _octet(image: jax.Array) -> jax.Array:
    return jnp.round(image * 255).astype(jnp.int32)


def colour_jitter(
    keys: jax.Array,
    batch: Batch,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
) -> Batch:
    """Change brightness, contrast, saturation and hue, in this order (Howard 2013; Szegedy et al. 2015).

    The first three blend by factors uniform in [max(0, 1 - setting), 1 + setting]; hue moves by [-hue, hue] turns, at
    most half a turn. A setting of 0 leaves its part out.
    """
    unit_images(batch, "colour_jitter")
    require(min(brightness, contrast, saturation) >= 0, "colour_jitter strengths must not be negative")
    require(0 <= hue <= 0.5, f"hue must lie in [0, 0.5] turns; got {hue}")
    u = uniform(keys, 4)
    parts: list[tuple[float, Callable[[jax.Array], jax.Array]]] = [
        (brightness, jnp.zeros_like),
        (contrast, mean_grey),
        (saturation, grey),
    ]

    def jittered(image: jax.Array) -> jax.Array:
        for number, (strength, base) in enumerate(parts):
            if strength:
                factor = between(u[:, number], max(0.0, 1 - strength), 1 + strength)
                image = materialise(blend(base(image), image, factor))
        if hue and image.shape[-1] == 3:
            image = turn_hue(image, between(u[:, 3], -hue, hue))
        return image

    return with_range_of(batch, (0.0, 1.0)).map(jittered, "image")


def gamma(keys: jax.Array, batch: Batch, *, power: tuple[float, float] = (0.7, 1.5), probability: float = 0.3) -> Batch:
    """With `probability`, raise the values in [0, 1] to a power: below 1 dark parts gain contrast, above 1 bright ones.

    power: drawn log-uniformly. Probability and range are nnU-Net's (Isensee et al. 2021, doi:10.1038/s41592-020-01008-
    z), which keeps the mean and deviation of an image besides.
    """
    unit_images(batch, "gamma")
    require(0 < power[0] <= power[1], f"gamma power must be 0 < low <= high; got {power}")
    require(0 <= probability <= 1, f"gamma probability must lie in [0, 1]; got {probability}")
    u = uniform(keys, 2)
    chosen, drawn = per_image(u[:, 0] < probability), per_image(log_between(u[:, 1], *power))
    return with_range_of(batch, (0.0, 1.0)).map(lambda image: jnp.where(chosen, image**drawn, image), "image")
