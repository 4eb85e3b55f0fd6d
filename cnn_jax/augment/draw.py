"""What all augmentations share: whom they ask for by role, what they refuse, and random numbers drawn per example."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.batch import Batch
from cnn_jax.data.spec import Role
from cnn_jax.ops.chunks import compute_once

Augmentation = Callable[[jax.Array, Batch], Batch]
Fill = float | tuple[float, ...]  # one value, or one per channel, in the units of the image

AXES: dict[Role, str] = {"image": "[B, H, W, C]", "signal": "[B, L, C]"}
# [] float32, the partner's share. Mixing adds it, no source has it: a value that no later augmentation changes.
MIX_WEIGHT = "mix_weight"
MIXED = "mixed_"  # before the name of a label or a text: the partner's
LEFT_OUT = "objects_left_out"  # [] float32, how many objects a limit of the rows has lost; the other such value


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds: for settings, while the step is traced."""
    if not condition:
        raise ValueError(message)


def listed(batch: Batch) -> str:
    """The batch's fields with their roles, for a message."""
    return ", ".join(f"{name} ({field.role})" for name, field in batch.fields.items()) or "no fields"


def floats(batch: Batch, augmentation: str, *roles: Role) -> dict[str, jax.Array]:
    """The batch's arrays of these roles, images or signals, by name.

    Raises ValueError where there is none, or one is not of floats or has other axes.
    """
    found = batch.of(*roles)
    require(
        bool(found), f"{augmentation} needs a field of the role {' or '.join(roles)}; the batch has {listed(batch)}"
    )
    for name, array in found.items():
        axes = AXES[batch.fields[name].role]
        require(
            array.ndim == axes.count(",") + 1, f"{augmentation} needs {axes}; '{name}' is of the shape {array.shape}"
        )
        require(
            bool(jnp.issubdtype(array.dtype, jnp.floating)),
            f"{augmentation} needs floats; '{name}' holds {array.dtype}: scale it first",
        )
    return found


def images(batch: Batch, augmentation: str) -> dict[str, jax.Array]:
    """The batch's images [B, H, W, C] by name. Raises ValueError where there is none, or one is not of floats."""
    return floats(batch, augmentation, "image")


def unit_images(batch: Batch, augmentation: str) -> dict[str, jax.Array]:
    """The batch's images, as `images`. Raises ValueError too where a field does not promise values in [0, 1]."""
    found = images(batch, augmentation)
    for name in found:
        low, high = batch.fields[name].range or (-math.inf, math.inf)
        promise = f"{low:g} to {high:g}" if batch.fields[name].range else "nothing"
        require(
            0 <= low and 1 / 255 <= high <= 1,  # less than a grey level would be rounded away
            f"{augmentation} needs images in [0, 1]; '{name}' promises {promise}: store bytes, or scale to 0..1",
        )
    return found


def only(batch: Batch, augmentation: str, verb: str, roles: tuple[Role, ...]) -> None:
    """Raises ValueError unless every field has one of these roles: "flip cannot move 'angle' (value)"."""
    for name, field in batch.fields.items():
        known = field.role in roles or name in (MIX_WEIGHT, LEFT_OUT) or name not in batch
        require(known, f"{augmentation} cannot {verb} '{name}' ({field.role})")


def extent(batch: Batch, augmentation: str) -> tuple[int, int]:
    """Height and width of all images and maps of the batch. Raises ValueError where they differ."""
    sizes = {name: array.shape[1:3] for name, array in batch.of("image", "class_map", "instance_map").items()}
    listed = ", ".join(f"{name} {height} x {width}" for name, (height, width) in sizes.items())
    require(len(set(sizes.values())) == 1, f"{augmentation} needs images and maps of one size; got {listed}")
    height, width = next(iter(sizes.values()))
    return height, width


def colour_of(fill: Fill, image: jax.Array) -> jax.Array:
    """`fill` as an array that meets images [B, H, W, C]. Raises ValueError for another number of channels."""
    count, channels = np.size(fill), image.shape[-1]
    require(count in (1, channels), f"fill has {count} channels, the image {channels}")
    return jnp.asarray(fill, image.dtype)


def with_range_of(batch: Batch, fill: Fill) -> Batch:
    """The batch whose images promise a range that holds `fill` too, for what paints with it."""
    for name, array in batch.of("image").items():
        field = batch.fields[name]
        if field.range:
            values = (*field.range, *np.ravel(fill).tolist())
            batch = batch.with_field(name, field._replace(range=(min(values), max(values))), array)
    return batch


def neighbour(array: jax.Array, number: int) -> jax.Array:
    """Array [B, ...] of example i ^ number, 0 to 3, in the place of i's; B must be a multiple of 2, from 2 on of 4."""
    span = {0: (1,), 1: (2,), 2: (2, 2), 3: (4,)}[number]
    return array.reshape(-1, *span, *array.shape[1:])[:, ::-1].reshape(array.shape)


def uniform(keys: jax.Array, *shape: int) -> jax.Array:
    """Uniform float32 numbers in [0, 1) of shape [B, *shape] from keys [B], each example from its own key."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(keys)


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
