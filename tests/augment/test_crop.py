"""Crops: everything that has a place comes along, they lie inside, and foreground is found as often as is asked."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from cnn_jax.augment.crop import crop, pixel_of_class
from cnn_jax.data.placement import Placement, as_vector
from cnn_jax.data.spec import IGNORED

HEIGHT, WIDTH, COUNT = 12, 17, 600


def numbered(count: int) -> np.ndarray:
    """Images whose pixels say where they are, [count, H, W, 2] in steps of 1 / 16."""
    places = np.stack(np.mgrid[:HEIGHT, :WIDTH], axis=-1).astype(np.float32) / 16
    return np.broadcast_to(places, (count, *places.shape))


def corners(image: Any) -> np.ndarray:
    return (np.asarray(image)[:, 0, 0] * 16).round().astype(int)


def test_what_has_a_place_is_cut_out_with_the_image(make_batch, keys) -> None:
    image = numbered(COUNT)
    kinds = (image[..., 0] * 16 + 100).astype(np.uint8)
    boxes = np.tile(np.float32([[2, 3, 9, 7], [0, 0, 0, 0]]), (COUNT, 1, 1))
    data = make_batch(
        {
            "image": image,
            "class_map": kinds,
            "instance_map": kinds.astype(np.int32) * 5,
            "boxes": boxes,
            "box_labels": np.tile(np.int32([4, -1]), (COUNT, 1)),
            "points": np.tile(np.float32([[2.5, 3.5]]), (COUNT, 1, 1)),
            "placement": np.tile(as_vector(Placement((24, 34), (HEIGHT, WIDTH))), (COUNT, 1)),
        }
    )
    found = jax.jit(partial(crop, size=(5, 8)))(keys(COUNT), data)
    top, left = corners(found["image"]).T
    for number in range(40):
        here = (slice(top[number], top[number] + 5), slice(left[number], left[number] + 8))
        for name in ("image", "class_map", "instance_map"):
            np.testing.assert_array_equal(found[name][number], np.asarray(data[name])[number][here])
    corner = np.stack([left, top], axis=1)[:, None]
    np.testing.assert_array_equal(found["points"], np.asarray(data["points"]) - corner)
    cut = np.clip(boxes[:, :1] - np.concatenate([corner, corner], -1), 0, [8, 5, 8, 5])
    area = (cut[..., 2:] - cut[..., :2]).prod(-1)[:, 0]
    kept = np.asarray(found["box_labels"])[:, 0] == 4
    np.testing.assert_array_equal(kept, area >= 0.1 * 28)
    np.testing.assert_array_equal(np.asarray(found["boxes"])[kept, 0], cut[kept, 0])
    expected = np.asarray(data["placement"]) - np.stack([0 * top, 0 * top, top, left, 0 * top, 0 * top], axis=1)
    np.testing.assert_allclose(found["placement"], expected, atol=1e-4)
    assert {name: field.shape for name, field in found.fields.items()} == {
        name: array.shape[1:] for name, array in found.items() if name in found.fields
    }
    hits = np.unique(np.stack([top, left]), axis=1, return_counts=True)[1]
    assert len(hits) == 8 * 10 and chisquare(hits).pvalue > 1e-4


def test_a_crop_around_foreground_shows_it_in_the_middle_and_lies_inside_on_all_sides(make_batch, keys) -> None:
    places = np.array([(0, 0), (HEIGHT - 1, WIDTH - 1), (6, 8), (0, WIDTH - 1)] * 5)
    kinds = np.zeros((20, HEIGHT, WIDTH), np.uint8)
    kinds[np.arange(20), *places.T] = 3
    data = make_batch({"image": numbered(20), "class_map": kinds})
    found = jax.jit(partial(crop, size=(5, 8), foreground=1.0))(keys(20), data)
    assert (np.asarray(found["class_map"]) == 3).sum(axis=(1, 2)).tolist() == [1] * 20
    assert (np.asarray(found["class_map"]) != IGNORED).all()  # as it would be beyond a border
    np.testing.assert_array_equal(corners(found["image"]), np.clip(places - (2, 4), 0, (HEIGHT - 5, WIDTH - 8)))


def test_all_classes_and_all_pixels_of_one_are_equally_likely() -> None:
    draw = np.random.default_rng(0)
    kinds = np.zeros((HEIGHT, WIDTH), np.uint8)
    kinds[2:4, 5:10], kinds[11, 16], kinds[5:9], kinds[0] = 7, 2, 254, IGNORED
    u = draw.random((6000, 2)).astype(np.float32)
    maps = jnp.broadcast_to(kinds, (6000, HEIGHT, WIDTH))
    for background, classes in ((0, [2, 7, 254]), (None, [0, 2, 7, 254]), (254, [0, 2, 7])):
        pixel, found = map(np.asarray, jax.jit(partial(pixel_of_class, background=background))(u, maps))
        said = kinds[*pixel.T]
        assert found.all()
        names, counts = np.unique(said, return_counts=True)
        assert names.tolist() == classes and chisquare(counts).pvalue > 1e-3
        sevens = np.unique(pixel[said == 7], axis=0, return_counts=True)[1]
        assert len(sevens) == 10 and chisquare(sevens).pvalue > 1e-3


def test_foreground_is_sought_with_its_probability_and_without_any_a_crop_lies_anywhere(make_batch, keys) -> None:
    kinds = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    kinds[::2, 0, 0] = 1  # a corner: only crops around it and 1 of 80 others show it
    kinds[1::2, 0] = IGNORED
    data = make_batch({"image": numbered(COUNT), "class_map": kinds})
    found = jax.jit(partial(crop, size=(5, 8), foreground=1 / 3))(keys(COUNT), data)
    shown = (np.asarray(found["class_map"]) == 1).any(axis=(1, 2))[::2].mean()
    assert abs(shown - (1 / 3 + 2 / 3 / 80)) < 4 * (2 / 9 / (COUNT / 2)) ** 0.5
    assert len(np.unique(corners(found["image"])[1::2], axis=0)) > 60


def test_a_side_that_is_shorter_is_not_cut(make_batch, keys) -> None:
    data = make_batch({"image": numbered(4)})
    assert crop(keys(4), data, size=(20, 8))["image"].shape == (4, HEIGHT, 8, 2)
    np.testing.assert_array_equal(crop(keys(4), data, size=40)["image"], data["image"])


def test_what_no_crop_can_be_made_of_is_refused(make_batch, keys) -> None:
    data = make_batch({"image": numbered(2)})
    for settings, said in (
        ({"size": (0, 4)}, "crop size must be at least 1 x 1; got 0 x 4"),
        ({"size": 4, "foreground": 2}, r"crop foreground must lie in \[0, 1\]; got 2"),
        ({"size": 4, "foreground": 0.5}, r"crop needs a field of the role class_map; .*: foreground=0 does without"),
    ):
        with pytest.raises(ValueError, match=f"^{said}"):
            crop(keys(2), data, **settings)  # type: ignore[arg-type]
