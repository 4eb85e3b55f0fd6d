import colorsys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from cnn_jax.augment import colour
from cnn_jax.augment.erase import random_erasing
from cnn_jax.augment.geometry import shift
from cnn_jax.augment.policy import rand_augment, trivial_augment

RANDOM = np.random.default_rng(0)
PIXELS = np.concatenate(
    [
        RANDOM.integers(0, 256, (2, 32, 40, 3)),
        RANDOM.integers(40, 90, (2, 32, 40, 3)),
        (RANDOM.random((2, 32, 40, 3)) ** 4 * 255).astype(int),
        RANDOM.choice([7, 7, 7, 200], (1, 32, 40, 3)),
        np.full((1, 32, 40, 3), 100),
    ]
).astype(np.uint8)
IMAGE = jnp.asarray(PIXELS, jnp.float32) / 255
ONE = jnp.ones(len(PIXELS))


def with_pillow(operation) -> np.ndarray:
    return np.stack([np.asarray(operation(Image.fromarray(one))) for one in PIXELS]).astype(np.float32) / 255


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.7, 1.0, 1.9])
@pytest.mark.parametrize(
    "base,enhance",
    [
        (jnp.zeros_like, ImageEnhance.Brightness),
        (colour.mean_grey, ImageEnhance.Contrast),
        (colour.grey, ImageEnhance.Color),
        (colour.smooth, ImageEnhance.Sharpness),
    ],
)
def test_blends_match_pillow_within_its_rounding(base, enhance, factor: float) -> None:
    ours = colour.blend(base(IMAGE), IMAGE, ONE * factor)
    theirs = with_pillow(lambda image: enhance(image).enhance(factor))
    # Pillow rounds the base and cuts the result off to whole steps of 1 / 255.
    np.testing.assert_allclose(ours, theirs, atol=(1.01 + 0.5 * abs(1 - factor)) / 255)
    if factor == 1:
        np.testing.assert_array_equal(ours, IMAGE)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_equals_pillow(bits: int) -> None:
    ours = colour.posterize(IMAGE, jnp.full(len(PIXELS), bits))
    np.testing.assert_allclose(ours, with_pillow(lambda image: ImageOps.posterize(image, bits)), rtol=2e-7)


@pytest.mark.parametrize("threshold", [0, 100, 255, 256])
def test_solarize_equals_pillow(threshold: int) -> None:
    ours = colour.solarize(IMAGE, ONE * (threshold / 255))
    np.testing.assert_allclose(ours, with_pillow(lambda image: ImageOps.solarize(image, threshold)), atol=1e-6)


def test_equalize_equals_pillow() -> None:
    theirs = with_pillow(ImageOps.equalize)
    np.testing.assert_allclose(colour.equalize(IMAGE), theirs, rtol=2e-7)
    np.testing.assert_allclose(colour.equalize(IMAGE[..., :1]), theirs[..., :1], rtol=2e-7)


def test_autocontrast_matches_pillow_within_its_rounding() -> None:
    np.testing.assert_allclose(colour.autocontrast(IMAGE), with_pillow(ImageOps.autocontrast), atol=1.01 / 255)


def test_smooth_of_an_image_without_inner_pixels_is_the_image() -> None:
    np.testing.assert_array_equal(colour.smooth(IMAGE[:, :2]), IMAGE[:, :2])


@pytest.mark.parametrize("turns", [0.0, 1 / 3, -0.2, 0.5])
def test_turn_hue_matches_colorsys(turns: float) -> None:
    image = IMAGE[:, :4, :5]
    ours = np.asarray(colour.turn_hue(image, ONE * turns)).reshape(-1, 3)

    def turned(pixel: np.ndarray) -> tuple[float, float, float]:
        hue, saturation, value = colorsys.rgb_to_hsv(*(float(v) for v in pixel))
        return colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)

    theirs = np.array([turned(pixel) for pixel in np.asarray(image).reshape(-1, 3)])
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.fixture
def jitter(make_batch, keys) -> Callable[..., np.ndarray]:
    """(strengths, all others 0) -> [300, 2, 2, 3] of (0.1, 0.2, 0.4) in the second row and twice that in the first."""
    return partial(_jitter, make_batch, keys)


def _jitter(make_batch, keys, **strengths: float) -> np.ndarray:
    settings = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0} | strengths
    count = 300
    image = jnp.broadcast_to(jnp.array([0.1, 0.2, 0.4]), (count, 2, 2, 3))
    image = image.at[:, 0].multiply(2)
    run: Any = jax.jit(partial(colour.colour_jitter, **settings))  # type: ignore[arg-type]
    return np.asarray(run(keys(count), make_batch({"image": image}))["image"])


def test_jitter_of_no_strength_returns_the_input_exactly(jitter) -> None:
    result = jitter()
    np.testing.assert_array_equal(result[5, 1, 1], np.array([0.1, 0.2, 0.4], np.float32))
    assert (result == result[0]).all()


def test_jitter_factors_cover_their_range_evenly(jitter) -> None:
    factor = jitter(brightness=0.2)[:, 1, 0, 0] / 0.1
    assert factor.min() >= 0.8 - 1e-6 and factor.max() <= 1.2 + 1e-6
    assert abs(factor.mean() - 1) < 0.03 and abs(factor.std() - 0.4 / 12**0.5) < 0.015


def test_each_part_of_jitter_keeps_what_it_should(jitter) -> None:
    weights = np.array([0.299, 0.587, 0.114])
    original = jitter()
    np.testing.assert_allclose(jitter(saturation=0.3) @ weights, original @ weights, atol=1e-6)
    np.testing.assert_allclose(
        (jitter(contrast=0.2) @ weights).mean((1, 2)), (original @ weights).mean((1, 2)), atol=1e-6
    )
    turned = jitter(hue=0.5)
    np.testing.assert_allclose(turned.max(-1), original.max(-1), atol=1e-6)
    np.testing.assert_allclose(turned.min(-1), original.min(-1), atol=1e-6)
    for strength in ("saturation", "contrast", "hue"):
        assert np.ptp(jitter(**{strength: 0.3}), axis=0).max() > 0.02, strength


def test_nonsense_is_refused(jitter) -> None:
    for settings in ({"hue": 0.6}, {"contrast": -0.1}):
        with pytest.raises(ValueError):
            jitter(**settings)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        colour.grey(jnp.zeros((1, 2, 2, 4)))


@pytest.mark.parametrize(
    "promised,said",
    [((0.0, 255.0), "promises 0 to 255"), ((-1.0, 1.0), "promises -1 to 1"), (None, "promises nothing")],
)
def test_images_beyond_the_unit_range_are_refused(make_batch, keys, promised, said: str) -> None:
    data = make_batch({"photo": np.zeros((2, 4, 4, 3), np.float32)}, {"photo": "image"}, range=promised)
    for augmentation in (colour.colour_jitter, rand_augment, trivial_augment, random_erasing):
        needs = f"^{augmentation.__name__} needs images in \\[0, 1\\]; 'photo' {said}: store bytes, or scale to 0..1$"
        with pytest.raises(ValueError, match=needs):
            augmentation(keys(2), data)
    random_erasing(keys(2), data, fill=0.0)  # asks nothing of the range


def test_bytes_are_in_range_once_scaled_and_a_wild_fill_takes_them_out(make_batch, keys) -> None:
    stored = make_batch({"image": np.full((2, 4, 4, 3), 128, np.uint8)}, range=None)
    scaled = stored.scaled()
    assert jax.eval_shape(colour.colour_jitter, keys(2), scaled).fields["image"].range == (0.0, 1.0)
    for early, said in ((stored, "holds uint8: scale it first"), (shift(keys(2), scaled, fill=2.0), "promises 0 to 2")):
        with pytest.raises(ValueError, match=said):
            colour.colour_jitter(keys(2), early)
    narrow = scaled.with_field("image", scaled.fields["image"]._replace(range=(0.4, 0.6)), scaled["image"])
    assert jax.eval_shape(colour.colour_jitter, keys(2), narrow).fields["image"].range == (0.0, 1.0)
