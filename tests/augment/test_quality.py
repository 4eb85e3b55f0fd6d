"""Noise, blur, low resolution and gamma against their definitions, and that nothing but images changes."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from cnn_jax.augment.colour import gamma
from cnn_jax.augment.quality import blur, low_resolution, noise

COUNT = 12
IMAGE = np.random.default_rng(0).random((COUNT, 11, 14, 2)).astype(np.float32)
ALWAYS: dict[str, Any] = {
    "noise": partial(noise, deviation=(0.05, 0.05), probability=1.0),
    "blur": partial(blur, sigma=(0.8, 0.8), probability=1.0),
    "low_resolution": partial(low_resolution, factor=(0.5, 0.5), probability=1.0),
    "gamma": partial(gamma, power=(0.5, 0.5), probability=1.0),
}
HALF: dict[str, Any] = {name: partial(f, probability=0.5) for name, f in ALWAYS.items()}
GREY = np.full((COUNT, 40, 50, 2), 0.5, np.float32)


@pytest.fixture(scope="module")
def found(make_batch, keys) -> dict[str, dict[str, np.ndarray]]:
    """The images after each, always and for half of them; of noise, which is random, after mid-grey."""
    maps = np.random.default_rng(1).integers(0, 3, IMAGE.shape[:3]).astype(np.uint8)
    data, grey = make_batch({"image": IMAGE, "class_map": maps}), make_batch({"image": GREY})

    def everything(keys: jax.Array, data: Any, grey: Any) -> Any:
        some = {when: {name: f(keys, data) for name, f in fs.items()} for when, fs in (("a", ALWAYS), ("h", HALF))}
        return some, ALWAYS["noise"](keys, grey)

    some, noisy = jax.jit(everything)(keys(COUNT), data, grey)
    for result in [*some["a"].values(), *some["h"].values()]:
        np.testing.assert_array_equal(result["class_map"], maps)
    images = {when: {name: np.asarray(r["image"]) for name, r in results.items()} for when, results in some.items()}
    return {**images, "grey": {"noise": np.asarray(noisy["image"])}}


def coarse(images: np.ndarray, axis: int) -> np.ndarray:
    """Every second pixel or so, the nearest, and lines between them."""
    length = images.shape[axis]
    count = round(length / 2)
    kept = np.floor((np.arange(count) + 0.5) * length / count).astype(int)
    place = (np.arange(length) + 0.5) * count / length - 0.5
    return np.apply_along_axis(lambda row: np.interp(place, np.arange(count), row[kept]), axis, images)


def test_each_is_what_it_says(found) -> None:
    smooth = partial(gaussian_filter1d, sigma=0.8, mode="nearest", radius=3)
    np.testing.assert_allclose(found["a"]["blur"], smooth(smooth(IMAGE, axis=1), axis=2), atol=1e-5)
    np.testing.assert_allclose(found["a"]["low_resolution"], coarse(coarse(IMAGE, 1), 2), atol=1e-5)
    np.testing.assert_allclose(found["a"]["gamma"], np.sqrt(IMAGE), atol=1e-5)
    added = found["grey"]["noise"] - 0.5
    assert abs(added.std() - 0.05) < 1e-3 and abs(added.mean()) < 1e-3
    assert len(np.unique(added[:, :, :, 0])) > 0.9 * added[..., 0].size  # each pixel has its own
    assert found["a"]["noise"].max() == 1 and found["a"]["noise"].min() == 0


def test_half_of_the_images_stay_to_the_bit(found) -> None:
    for name, images in found["h"].items():
        same = (images == IMAGE).all(axis=(1, 2, 3))
        assert 1 < same.sum() < COUNT - 1, name
        if name != "noise":
            np.testing.assert_allclose(images[~same], found["a"][name][~same], atol=1e-6, err_msg=name)


def test_nonsense_is_refused(make_batch, keys) -> None:
    data = make_batch({"image": IMAGE})
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (noise, {"deviation": (-1, 0)}, "noise deviation must be 0 <= low <= high"),
        (blur, {"sigma": (0, 1)}, "blur sigma must be 0.1 <= low <= high"),
        (low_resolution, {"factor": (0.5, 2)}, "low_resolution factor must be at most 1"),
        (gamma, {"power": (0, 1)}, "gamma power must be 0 < low <= high"),
        *((f, {"probability": 2}, r"\w+ probability must lie in \[0, 1\]; got 2") for f in (noise, blur, gamma)),
    ]
    for augmentation, settings, said in wrong:
        with pytest.raises(ValueError, match=f"^{said}"):
            augmentation(keys(COUNT), data, **settings)
