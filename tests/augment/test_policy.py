from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import affine_transform

from cnn_jax.augment import policy
from cnn_jax.augment.affine import warp
from cnn_jax.batch import Batch

RANGES = policy.Ranges(degrees=30.0, shear=0.3, translate_x=4.0, translate_y=3.0, blend=0.9, bits=4)
COUNT = 6
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 15, 15, 3)).astype(np.uint8)
IMAGE = jnp.asarray(PIXELS, jnp.float32) / 255
STRENGTH = np.array([-1.0, -0.5, 0.0, 0.3, 0.75, 1.0], np.float32)


@jax.jit
def one(operation: jax.Array) -> jax.Array:
    """A policy's layer: `operation` on every image, at its own strength."""
    chosen = jnp.full(COUNT, operation)
    image = policy.recolour(IMAGE, chosen, jnp.asarray(STRENGTH), RANGES)
    return warp(image, policy.place(chosen, jnp.asarray(STRENGTH), RANGES), 0.5)


def apply(name: str) -> np.ndarray:
    return np.asarray(one(policy.OPERATIONS.index(name)))


@pytest.mark.parametrize(
    "name,by_pillow,steps",
    [
        ("identity", lambda image, m: image, 0),
        ("brightness", lambda image, m: ImageEnhance.Brightness(image).enhance(1 + 0.9 * m), 2),
        ("contrast", lambda image, m: ImageEnhance.Contrast(image).enhance(1 + 0.9 * m), 2),
        ("colour", lambda image, m: ImageEnhance.Color(image).enhance(1 + 0.9 * m), 2),
        ("sharpness", lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * m), 2),
        ("posterize", lambda image, m: ImageOps.posterize(image, 8 - round(4 * abs(m))), 0),
        ("solarize", lambda image, m: ImageOps.solarize(image, 256 * (1 - abs(m))), 0),
        ("autocontrast", lambda image, m: ImageOps.autocontrast(image), 1),
        ("equalize", lambda image, m: ImageOps.equalize(image), 0),
    ],
)
def test_colour_operations_match_pillow(name: str, by_pillow, steps: int) -> None:
    theirs = [np.asarray(by_pillow(Image.fromarray(p), float(m))) for p, m in zip(PIXELS, STRENGTH, strict=True)]
    np.testing.assert_allclose(apply(name), np.stack(theirs) / 255, atol=(steps + 0.01) / 255)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_geometric_operations_match_scipy(name: str) -> None:
    ours = apply(name)
    for image, result, m in zip(np.asarray(IMAGE), ours, STRENGTH, strict=True):
        angle = np.radians(30 * m) if name == "rotate" else 0.0
        inverse = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        inverse[1, 0] += 0.3 * m if name == "shear_x" else 0
        inverse[0, 1] += 0.3 * m if name == "shear_y" else 0
        moved = np.array([3.0 * m * (name == "translate_y"), 4.0 * m * (name == "translate_x")])
        for channel in range(3):
            padded = np.pad(image[..., channel], 10, constant_values=0.5)
            middle = (np.array(padded.shape) - 1) / 2
            offset = middle - inverse @ middle + moved
            theirs = affine_transform(padded, inverse, offset, order=1, mode="constant", cval=0.5)[10:-10, 10:-10]
            np.testing.assert_allclose(result[..., channel], theirs, atol=2e-5)


@pytest.fixture
def batch(make_batch) -> Callable[..., Batch]:
    def make(count: int, side: int = 18) -> Batch:
        image = np.random.default_rng(1).integers(40, 200, (side, side, 3)) / 255
        # Grey levels leave autocontrast room to act, and equalize acts on more than 255 pixels only.
        image = np.broadcast_to(image, (count, side, side, 3)).astype(np.float32)
        return make_batch({"image": image, "label": np.zeros(count)})

    return make


def layer(image: Any, operations: list[int], strengths: list[float], ranges: policy.Ranges) -> np.ndarray:
    """Image i (or the only one there is) under operation i at strength i, warped at once."""

    @jax.jit
    def run(image: jax.Array) -> jax.Array:
        chosen, strength = jnp.array(operations), jnp.array(strengths)
        return warp(policy.recolour(image, chosen, strength, ranges), policy.place(chosen, strength, ranges), 0.5)

    if len(image) != len(operations):
        image = jnp.broadcast_to(image[0], (len(operations), *image.shape[1:]))
    return np.asarray(run(image))


def test_no_operations_and_no_magnitude(batch, keys) -> None:
    data = batch(600).map(lambda image: image + 1e-3, "image")  # not whole steps of 1 / 255: posterize must not round
    unchanged = jax.jit(partial(policy.rand_augment, n=0))(keys(600), data)
    np.testing.assert_array_equal(unchanged["image"], data["image"])
    still = np.asarray(jax.jit(partial(policy.rand_augment, n=1, magnitude=0.0))(keys(600), data)["image"])
    untouched = (still == data["image"]).all(axis=(1, 2, 3))
    # Only autocontrast and equalize act without magnitude: 12 of 14 leave the image, to the bit.
    assert abs(untouched.mean() - 12 / 14) < 4 * (12 / 14 * 2 / 14 / 600) ** 0.5


def test_one_layer_chooses_all_operations_equally(batch, keys) -> None:
    """Every result of one layer is some operation at full strength or its opposite, and all turn up evenly."""
    count = 700
    data = batch(count)
    result = np.asarray(jax.jit(partial(policy.rand_augment, n=1, magnitude=10.0))(keys(count), data)["image"])
    ranges = policy.Ranges(30.0, 0.3, 150 / 331 * 18, 150 / 331 * 18, 0.9, 4)
    table = layer(data["image"], [*range(14)] * 2, [1.0] * 14 + [-1.0] * 14, ranges)
    error = np.abs(result[:, None, 6:12, 6:12] - table[None, :, 6:12, 6:12]).max(axis=(2, 3, 4))
    assert error.min(axis=1).max() < 1e-5
    hits = np.bincount(error.argmin(axis=1) % 14, minlength=14)
    assert np.abs(hits - 50).max() < 5 * 50**0.5
    signs = np.bincount(error.argmin(axis=1), minlength=28)[[1, 15, 2, 16, 6, 20]]
    assert signs.min() > 10


def test_a_second_layer_comes_after_the_first(make_batch, keys) -> None:
    """n = 1 on the same keys tells the first operation; some second one after it must then give what n = 2 does."""
    count, side, inner = 600, 24, slice(9, 15)
    wave = jnp.abs(jnp.sin(jnp.arange(side) / 5)[:, None, None] * jnp.cos(jnp.arange(side) / 6)[None, :, None])
    data = make_batch({"image": jnp.broadcast_to(wave, (count, side, side, 1)), "label": jnp.zeros(count)})
    one_layer, two_layers = (
        np.asarray(jax.jit(partial(policy.rand_augment, n=n, magnitude=4.0))(keys(count), data)["image"])[
            :, inner, inner
        ]
        for n in (1, 2)
    )
    ranges = policy.Ranges(30.0, 0.3, 150 / 331 * side, 150 / 331 * side, 0.9, 4)
    moves = [(operation, sign) for operation in range(1, 6) for sign in (0.4, -0.4)]
    operations, strengths = [m[0] for m in moves], [m[1] for m in moves]
    once = layer(data["image"], operations, strengths, ranges)
    twice = layer(jnp.repeat(once, 10, axis=0), operations * 10, strengths * 10, ranges)
    twice = twice[:, inner, inner].reshape(10, 10, *twice[0, inner, inner].shape)

    error = np.abs(one_layer[:, None] - once[None, :, inner, inner]).max(axis=(2, 3, 4))
    moved = np.flatnonzero(error.min(axis=1) < 1e-5)
    first = error.argmin(axis=1)
    in_order = np.abs(two_layers[:, None] - twice[first]).max(axis=(2, 3, 4))
    reversed_order = np.abs(two_layers[:, None] - twice[:, first].swapaxes(0, 1)).max(axis=(2, 3, 4))
    # Interpolating twice smooths a little: 0.02. Where the order shows, all must have the right one.
    found = [i for i in moved if min(in_order[i].min(), reversed_order[i].min()) < 0.02]
    shows = [i for i in found if max(in_order[i].min(), reversed_order[i].min()) > 0.04]
    assert len(shows) >= 8 and all(in_order[i].min() < 0.02 for i in shows)


def test_trivial_augment_is_one_operation_of_31_strengths(batch, keys) -> None:
    count = 200
    data = batch(count)
    result = np.asarray(jax.jit(policy.trivial_augment)(keys(count), data)["image"])
    ranges = policy.Ranges(135.0, 0.99, 32.0, 32.0, 0.99, 6)
    choices = [(operation, level / 30) for operation in range(14) for level in range(-30, 31)]
    table = layer(data["image"], [c[0] for c in choices], [c[1] for c in choices], ranges)
    error = np.abs(result[:, None, 7:11, 7:11] - table[None, :, 7:11, 7:11]).max(axis=(2, 3, 4))
    assert error.min(axis=1).max() < 1e-4
    assert len(np.unique(error.argmin(axis=1) // 61)) == 14


def test_nonsense_is_refused(batch, keys) -> None:
    wrong: list[dict[str, Any]] = [{"n": -1}, {"magnitude": 11.0}, {"magnitude": -1.0}]
    for settings in wrong:
        with pytest.raises(ValueError):
            policy.rand_augment(keys(2), batch(2), **settings)
