"""RandAugment and TrivialAugment: operations chosen at random for each example.

A `lax.switch` under `vmap` would compute all 14 operations for every example, so they are merged instead:
the five geometric ones are entries of one affine matrix per example, and an example's matrices are multiplied and
applied in ONE bilinear warp at the end (one interpolation, however many layers); the four blends share one formula;
only equalize, autocontrast, posterize and solarize stand alone. With the warp at the end, later colour operations of a
sequence see neither the fill nor what has left the image, nor do sharpness and equalize see interpolated pixels.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.augment import colour
from cnn_jax.augment.affine import matrix, warped
from cnn_jax.augment.draw import (
    Fill,
    extent,
    fold,
    integer,
    materialise,
    per_image,
    require,
    uniform,
    unit_images,
    with_range_of,
)
from cnn_jax.batch import Batch

OPERATIONS = (
    "identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y", "brightness", "contrast", "colour",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip


class Ranges(NamedTuple):
    """The operations' greatest strengths; at strength 0 all but autocontrast and equalize leave the image as it is."""

    degrees: float
    shear: float
    translate_x: float  # pixels
    translate_y: float  # pixels
    blend: float  # the factor of brightness, contrast, colour and sharpness goes from 1 to 1 +- this
    bits: int  # that posterize takes away


def rand_augment(
    keys: jax.Array, batch: Batch, *, n: int = 2, magnitude: float = 9.0, fill: Fill = 0.5, visible: float = 0.1
) -> Batch:
    """`n` random operations, each with the same magnitude in 0 .. 10 (Cubuk et al. 2020, section 3).

    Magnitude 10 is the end of AutoAugment's ranges (Cubuk et al. 2019, table 6): 30 degrees, shear 0.3, 150/331 of a
    side, 4 bits, factors 1 +- 0.9. Strength grows with magnitude for the four blends too, where AutoAugment's scale
    puts their factor 1 in the middle. fill shows outside the image; visible: see `affine.moved`.
    """
    require(n >= 0, f"rand_augment needs n >= 0 operations; got {n}")
    require(0 <= magnitude <= 10, f"rand_augment magnitude must lie in [0, 10]; got {magnitude}")
    unit_images(batch, "rand_augment")
    height, width = extent(batch, "rand_augment")
    ranges = Ranges(30.0, 0.3, 150 / 331 * width, 150 / 331 * height, 0.9, 4)
    strength = jnp.full(len(keys), magnitude / 10, jnp.float32)
    total = jnp.broadcast_to(jnp.eye(3, dtype=jnp.float32), (len(keys), 3, 3))
    for layer in range(n):
        u = uniform(fold(keys, layer), 2)
        operation, signed = integer(u[:, 0], len(OPERATIONS)), jnp.where(u[:, 1] < 0.5, -strength, strength)
        batch = _recoloured(batch, operation, signed, ranges)
        # A later layer moves what an earlier one has placed, so its inverse map comes last: earlier @ later.
        total = jnp.matmul(total, _square(place(operation, signed, ranges)), precision="highest")
    return warped("rand_augment", batch, total[:, :2], fill, visible)


def trivial_augment(keys: jax.Array, batch: Batch, *, fill: Fill = 0.5, visible: float = 0.1) -> Batch:
    """One random operation with a random magnitude, one of 31 (Müller & Hutter 2021, algorithm 1, the wide space).

    The wide ranges (their table 1): 135 degrees, shear 0.99, 32 pixels, 6 bits, factors 1 +- 0.99.
    fill shows outside the image; visible: see `affine.moved`.
    """
    unit_images(batch, "trivial_augment")
    ranges = Ranges(135.0, 0.99, 32.0, 32.0, 0.99, 6)
    u = uniform(keys, 3)
    operation, strength = integer(u[:, 0], len(OPERATIONS)), integer(u[:, 1], 31).astype(jnp.float32) / 30
    signed = jnp.where(u[:, 2] < 0.5, -strength, strength)
    batch = _recoloured(batch, operation, signed, ranges)
    return warped("trivial_augment", batch, place(operation, signed, ranges), fill, visible)


def place(operation: jax.Array, strength: jax.Array, ranges: Ranges) -> jax.Array:
    """Matrices [B, 2, 3] for `warp` of operations [B] at strengths [B] in [-1, 1]; colour ones give the identity."""

    def amount(name: str, limit: float) -> jax.Array:
        return jnp.where(operation == OPERATIONS.index(name), strength * limit, 0)

    angle = amount("rotate", math.radians(ranges.degrees))
    return matrix(
        (jnp.cos(angle), jnp.sin(angle) + amount("shear_y", ranges.shear), amount("translate_y", ranges.translate_y)),
        (amount("shear_x", ranges.shear) - jnp.sin(angle), jnp.cos(angle), amount("translate_x", ranges.translate_x)),
    )


def recolour(image: jax.Array, operation: jax.Array, strength: jax.Array, ranges: Ranges) -> jax.Array:
    """Images under colour operations [B] at strengths [B] in [-1, 1]; geometric ones leave them as they are.

    Posterize and solarize have no sign: they take the strength's size.
    """

    def chosen(*names: str) -> jax.Array:
        return jnp.isin(operation, jnp.array([OPERATIONS.index(name) for name in names]))

    image, size = materialise(image), jnp.abs(strength)
    base = jnp.select(
        [per_image(chosen(name)) for name in ("brightness", "contrast", "colour", "sharpness")],
        [jnp.zeros_like(image), colour.mean_grey(image), colour.grey(image), colour.smooth(image)],
        image,
    )
    blended = colour.blend(base, image, 1 + strength * ranges.blend)
    bits = 8 - jnp.round(size * ranges.bits).astype(jnp.int32)
    threshold = (1 - size) * (256 / 255)  # above 1 at strength 0: nothing is inverted
    return jnp.select(
        [per_image(chosen(name)) for name in ("posterize", "solarize", "autocontrast", "equalize")],
        [
            colour.posterize(image, bits),
            colour.solarize(image, threshold),
            colour.autocontrast(image),
            colour.equalize(image),
        ],
        blended,
    )


def _recoloured(batch: Batch, operation: jax.Array, strength: jax.Array, ranges: Ranges) -> Batch:
    return with_range_of(batch, (0.0, 1.0)).map(lambda image: recolour(image, operation, strength, ranges), "image")


def _square(matrices: jax.Array) -> jax.Array:
    bottom = jnp.broadcast_to(jnp.array([[[0.0, 0.0, 1.0]]], matrices.dtype), (len(matrices), 1, 3))
    return jnp.concatenate([matrices, bottom], axis=1)
