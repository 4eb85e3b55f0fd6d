"""What all augmentations share: the batch contract, and random numbers drawn per example."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax.ops.chunks import compute_once

Batch = dict[str, jax.Array]
Augmentation = Callable[[jax.Array, Batch], Batch]
Fill = float | tuple[float, ...]  # one value, or one per channel, in [0, 1]


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds: for settings, while the step is traced."""
    if not condition:
        raise ValueError(message)


def images(batch: Batch) -> jax.Array:
    """The batch's images [B, H, W, C]; ValueError if it holds something else."""
    image = batch["image"]
    require(image.ndim == 4, f"an image augmentation needs images [B, H, W, C]; got shape {image.shape}")
    require(
        jnp.issubdtype(image.dtype, jnp.floating),
        f"images are augmented as floats in [0, 1]; divide {image.dtype} first",
    )
    return image


def uniform(keys: jax.Array, *shape: int) -> jax.Array:
    """Uniform numbers in [0, 1) of shape [B, *shape] from keys [B], each example from its own key."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)


def fold(keys: jax.Array, number: int) -> jax.Array:
    """Fresh keys [B] for a second purpose, named by `number`."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)


def between(u: jax.Array, low: float, high: float) -> jax.Array:
    """Spread u in [0, 1) over [low, high)."""
    return low + (high - low) * u


def log_between(u: jax.Array, low: float, high: float) -> jax.Array:
    """Spread u in [0, 1) over [low, high) evenly in the logarithm: a factor and its inverse are equally likely."""
    return jnp.exp(between(u, math.log(low), math.log(high)))


def integer(u: jax.Array, count: int | jax.Array) -> jax.Array:
    """Turn u in [0, 1) into integers 0 .. count - 1, all equally likely; an array of counts goes element by element."""
    return jnp.floor(u * count).astype(jnp.int32)


def per_image(values: jax.Array) -> jax.Array:
    """Values [B] as [B, 1, 1, 1], to meet images."""
    return values[:, None, None, None]


def materialise(array: jax.Array) -> jax.Array:
    """The same array, computed once and stored, where XLA's CPU backend would rather compute it again for each reader.

    A chain of augmentations would cost the product of its parts (RandAugment: 150 instead of 20 ms). Elsewhere this
    does nothing.
    """

    def same(array: jax.Array) -> jax.Array:
        return array

    return jax.lax.platform_dependent(array, cpu=partial(compute_once, same), default=same)


def box_sizes(
    u: jax.Array, height: int, width: int, area: tuple[float, float], aspect: tuple[float, float]
) -> tuple[jax.Array, jax.Array]:
    """Heights and widths [B], in pixels and not rounded, of random boxes that fit a `height` x `width` image.

    u: uniform numbers [B, tries, 2]. The box area is uniform in `area` (shares of the image), the aspect (width over
    height) log-uniform in `aspect`; the first try that fits is taken, and if none does the last is cut to the image.
    """
    require(0 < area[0] <= area[1] <= 1, f"area must be 0 < low <= high <= 1, in shares of the image; got {area}")
    require(0 < aspect[0] <= aspect[1], f"aspect must be 0 < low <= high; got {aspect}")
    areas = between(u[..., 0], *area) * (height * width)
    ratios = log_between(u[..., 1], *aspect)
    heights, widths = jnp.sqrt(areas / ratios), jnp.sqrt(areas * ratios)
    fits = ((heights <= height) & (widths <= width)).at[:, -1].set(True)
    first = jnp.argmax(fits, axis=1, keepdims=True)
    heights = jnp.take_along_axis(heights, first, axis=1)[:, 0]
    widths = jnp.take_along_axis(widths, first, axis=1)[:, 0]
    return jnp.minimum(heights, height), jnp.minimum(widths, width)


def box_mask(
    top: jax.Array, left: jax.Array, bottom: jax.Array, right: jax.Array, height: int, width: int
) -> jax.Array:
    """Boolean [B, height, width, 1], true where top <= row < bottom and left <= column < right (each [B])."""
    rows, columns = jnp.arange(height)[None, :, None, None], jnp.arange(width)[None, None, :, None]
    in_rows = (rows >= per_image(top)) & (rows < per_image(bottom))
    return in_rows & (columns >= per_image(left)) & (columns < per_image(right))
