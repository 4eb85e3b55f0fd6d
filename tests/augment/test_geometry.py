from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import affine_transform
from scipy.stats import ks_2samp, kstest

from cnn_jax.augment.affine import matrix, sample, warp
from cnn_jax.augment.geometry import (
    dihedral,
    flip,
    random_iou_crop,
    random_resized_crop,
    rotate,
    scale,
    scale_jitter,
    shift,
)
from cnn_jax.batch import Batch

MANY = 1000


@pytest.fixture
def batch(make_batch) -> Callable[..., Batch]:
    def make(count: int, height: int = 7, width: int = 9, channels: int = 3) -> Batch:
        image = np.random.default_rng(0).random((height, width, channels)).astype(np.float32)
        return make_batch({"image": np.broadcast_to(image, (count, *image.shape)), "label": np.zeros(count)})

    return make


def test_dihedral_takes_each_of_the_eight_ways_of_a_square_to_what_has_a_place(make_batch, keys) -> None:
    image = np.random.default_rng(0).integers(1, 256, (5, 5)).astype(np.uint8)
    many = {
        "image": np.tile(image[..., None] / np.float32(256), (400, 1, 1, 1)),
        "instance_map": np.tile(image, (400, 1, 1)),
    }
    found = jax.jit(dihedral)(keys(400), make_batch(many))
    ways = [np.rot90(one, k) for one in (image, image[::-1]) for k in range(4)]
    counts = [(np.asarray(found["instance_map"]) == way).all((1, 2)).sum() for way in ways]
    assert sum(counts) == 400 and min(counts) > 25
    np.testing.assert_array_equal(found["image"][..., 0] * 256, found["instance_map"])
    # What is not square is flipped alone.
    wide = {"image": np.tile(image[:3, :, None] / np.float32(256), (100, 1, 1, 1))}
    flipped = np.asarray(jax.jit(dihedral)(keys(100), make_batch(wide))["image"])[..., 0] * 256
    assert {one.astype(np.uint8).tobytes() for one in flipped} == {
        np.ascontiguousarray(image[:3][::down, ::right]).tobytes() for down in (1, -1) for right in (1, -1)
    }


def test_flip_mirrors_columns_with_its_probability(batch, keys) -> None:
    data = batch(4000, 1, 2, 1)
    result = np.asarray(jax.jit(flip)(keys(4000), data)["image"])
    original = np.asarray(data["image"])
    mirrored = (result == original[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (result == original).all(axis=(1, 2, 3))).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / 4000**0.5


def test_flip_always_twice_is_the_identity_and_never_is_too(batch, keys) -> None:
    data, always = batch(2), partial(flip, probability=1.0)
    once = always(keys(2), data)
    np.testing.assert_array_equal(once["image"], data["image"][:, :, ::-1])
    np.testing.assert_array_equal(always(keys(2), once)["image"], data["image"])
    np.testing.assert_array_equal(flip(keys(2), data, probability=0.0)["image"], data["image"])
    np.testing.assert_array_equal(flip(keys(2), data, probability=0.0, vertical=1.0)["image"], data["image"][:, ::-1])


@pytest.mark.parametrize(
    "padding,fill", [("constant", 0.0), ("constant", (0.1, 0.2, 0.3)), ("reflect", 0.0), ("edge", 0.0)]
)
def test_shift_is_a_crop_of_the_padded_image_at_all_offsets_equally(batch, keys, padding: Any, fill: float) -> None:
    count, pixels = 1800, 1
    data = batch(count, 4, 5)
    result = np.asarray(jax.jit(partial(shift, pixels=pixels, padding=padding, fill=fill))(keys(count), data)["image"])
    image = np.asarray(data["image"][0])
    if padding == "constant":
        padded = np.full((6, 7, 3), fill, np.float32)
        padded[1:-1, 1:-1] = image
    else:
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode=padding)
    crops = [padded[row : row + 4, column : column + 5] for row in range(3) for column in range(3)]
    hits = np.array([(result == crop).all(axis=(1, 2, 3)).sum() for crop in crops])
    assert hits.sum() == count
    assert np.abs(hits - 200).max() < 5 * 200**0.5


def test_shift_by_nothing_is_the_identity_and_nonsense_is_refused(batch, keys) -> None:
    data = batch(2)
    np.testing.assert_array_equal(shift(keys(2), data, pixels=0)["image"], data["image"])
    wrong: list[dict[str, Any]] = [
        {"pixels": -1},
        {"pixels": 8},
        {"pixels": 7, "padding": "reflect"},
        {"padding": "wrap"},
    ]
    for settings in wrong:
        with pytest.raises(ValueError):
            shift(keys(2), data, **settings)


def test_sample_between_pixels_is_bilinear() -> None:
    image = jnp.array([[0.0, 0.2], [0.4, 1.0]]).reshape(1, 2, 2, 1)
    rows, columns = jnp.array([[[0.25, -0.5, 50.0]]]), jnp.array([[[0.5, 1.0, -1e9]]])
    inside = 0.75 * 0.1 + 0.25 * 0.7
    np.testing.assert_allclose(
        sample(image, rows, columns, 0.6).ravel(), [inside, 0.5 * 0.2 + 0.5 * 0.6, 0.6], atol=1e-6
    )


def test_quarter_turn_equals_rot90(batch) -> None:
    data = batch(1, 8, 8)
    one, zero = jnp.ones(1), jnp.zeros(1)
    exact = warp(data["image"], matrix((zero, one, zero), (-one, zero, zero)))
    np.testing.assert_array_equal(exact[0], np.rot90(data["image"][0]))


def test_rotate_matches_scipy_at_the_drawn_angles(batch, keys) -> None:
    count = 400
    data = batch(count, 6, 6, 1)
    result = np.asarray(jax.jit(partial(rotate, degrees=90.0))(keys(count), data)["image"])
    image = np.asarray(data["image"][0, ..., 0], np.float64)

    def turned(degrees: float) -> np.ndarray:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        inverse = np.array([[c, s], [-s, c]])
        padded = np.pad(image, 5)  # scipy blends with what is outside only if there is something
        middle = (np.array(padded.shape) - 1) / 2
        return affine_transform(padded, inverse, middle - inverse @ middle, order=1)[5:-5, 5:-5]

    grid = np.linspace(-90, 90, 1801)
    table = np.stack([turned(d) for d in grid]).astype(np.float32)
    error = np.abs(table[None] - result[:, None, :, :, 0]).max(axis=(2, 3))
    angles = grid[error.argmin(axis=1)]
    assert error.min(axis=1).max() < 5e-3  # half a grid step moves a corner by 0.003 pixels
    assert abs(angles.mean()) < 4 * 52 / count**0.5 and abs(angles.std() - 180 / 12**0.5) < 5
    assert angles.min() < -80 and angles.max() > 80


@pytest.mark.parametrize(
    "still",
    [
        partial(rotate, degrees=0.0, fill=0.7),
        partial(scale, factor=(1.0, 1.0), fill=0.7),
        partial(random_resized_crop, area=(1.0, 1.0), aspect=(1.0, 1.0)),
    ],
)
def test_settings_of_no_effect_return_the_input_exactly(batch, keys, still) -> None:
    data = batch(3, 8, 8)
    np.testing.assert_array_equal(still(keys(3), data)["image"], data["image"])


def test_scale_by_two_shows_the_middle_and_by_half_shows_fill(make_batch, keys) -> None:
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, None, :, None] / 10, (2, 8, 8, 1))
    data = make_batch({"image": ramp, "label": jnp.zeros(2)})
    double = scale(keys(2), data, factor=(2.0, 2.0))["image"]
    np.testing.assert_allclose(double[0, 3, :, 0], (3.5 + (np.arange(8) - 3.5) / 2) / 10, atol=1e-6)
    half = scale(keys(2), data, factor=(0.5, 0.5), fill=0.9)["image"]
    np.testing.assert_allclose(half[1, :, :2], 0.9, atol=1e-6)
    np.testing.assert_allclose(half[1, 4, 2:6, 0], (3.5 + (np.arange(2, 6) - 3.5) * 2) / 10, atol=1e-6)


def test_scale_factors_are_log_uniform(make_batch, keys) -> None:
    count = 1000
    ramp = jnp.broadcast_to(jnp.arange(9.0)[None, None, :, None] / 8, (count, 9, 9, 1))
    result = jax.jit(partial(scale, factor=(1.0, 4.0)))(keys(count), make_batch({"image": ramp}))["image"]
    factor = 1 / (8 * (result[:, 4, 5, 0] - result[:, 4, 4, 0]))
    logs = np.log(np.asarray(factor)) / np.log(4)
    assert abs(logs.mean() - 0.5) < 0.04 and abs(logs.std() - 12**-0.5) < 0.02 and logs.min() > -1e-5 and logs.max() < 1


def test_random_resized_crop_boxes_keep_to_area_and_aspect(batch, make_batch, keys) -> None:
    count, height, width = 2000, 16, 32
    rows = np.broadcast_to(np.arange(height)[:, None] / height, (height, width))
    columns = np.broadcast_to(np.arange(width) / width, (height, width))
    image = jnp.asarray(
        np.broadcast_to(np.stack([rows, columns, rows], axis=-1), (count, height, width, 3)), jnp.float32
    )
    crop = jax.jit(partial(random_resized_crop, area=(0.2, 0.6), aspect=(0.5, 2.0)))
    result = np.asarray(crop(keys(count), make_batch({"image": image}))["image"])
    # On ramps the step between neighbours in the middle tells the box's share of each side.
    tall = (result[:, 8, 0, 0] - result[:, 7, 0, 0]) * height
    wide = (result[:, 0, 16, 1] - result[:, 0, 15, 1]) * width
    share, aspect = tall * wide, (wide * width) / (tall * height)
    assert share.min() > 0.2 - 1e-4 and share.max() < 0.6 + 1e-4
    assert aspect.min() > 0.5 - 1e-3 and aspect.max() < 2 + 1e-3
    assert tall.max() <= 1 + 1e-4
    # The definition: draw again until the box fits. 4 in 10 do not fit here.
    random = np.random.default_rng(0)
    areas, ratios = random.uniform(0.2, 0.6, 20_000), np.exp(random.uniform(np.log(0.5), np.log(2), 20_000))
    fits = (areas * 2 / ratios <= 1) & (areas * ratios / 2 <= 1)
    assert ks_2samp(share, areas[fits]).pvalue > 1e-3 and ks_2samp(aspect, ratios[fits]).pvalue > 1e-3
    with pytest.raises(ValueError, match="area"):
        random_resized_crop(keys(2), batch(2), area=(0.0, 1.0))


def test_scale_jitter_draws_factor_and_place_evenly(make_batch, keys) -> None:
    corners = np.tile(np.float32([[0, 0], [40, 20]]), (MANY, 1, 1))
    data = make_batch({"image": np.zeros((MANY, 20, 40, 1), np.float32), "points": corners})
    low, high = np.moveaxis(np.asarray(jax.jit(scale_jitter)(keys(MANY), data)["points"]), 1, 0)
    factor = (high - low) / [40, 20]
    np.testing.assert_allclose(factor[:, 0], factor[:, 1], atol=1e-4)
    place = low / ([40, 20] - factor * [40, 20])
    for drawn in ((factor[:, 0] - 0.1) / 1.9, place[:, 0], place[:, 1]):
        assert kstest(drawn, "uniform").pvalue > 1e-3


def test_scale_jitter_skips_no_pixel(make_batch, keys) -> None:
    """Single black and white pixels become grey, where `scale` without halved copies picks some of them."""
    board = np.broadcast_to((np.indices((64, 64)).sum(axis=0) % 2)[None, ..., None], (32, 64, 64, 1)).astype(np.float32)
    data = make_batch({"image": board})
    for few, reads_all in ((scale_jitter, True), (scale, False)):
        shrunk = np.asarray(jax.jit(partial(few, factor=(0.15, 0.24), fill=0.5))(keys(32), data)["image"])
        assert (np.abs(shrunk - 0.5).max() < 1e-5) == reads_all


def test_random_iou_crop_holds_an_object_as_far_as_was_drawn(make_batch, keys) -> None:
    """The crop is known by where it takes the image's corners. Each image has one object and one that is ignored."""
    random = np.random.default_rng(0)
    corner, size = random.uniform(0, 20, (MANY, 2)), random.uniform(8, 20, (MANY, 2))
    boxes = np.stack([np.concatenate([corner, corner + size], axis=-1), np.tile([0, 0, 30, 30], (MANY, 1))], 1)
    arrays = {
        "image": np.zeros((MANY, 40, 40, 1), np.float32),
        "boxes": boxes.astype(np.float32),
        "box_labels": np.tile(np.int32([1, 2]), (MANY, 1)),
        "box_ignored": np.tile(np.uint8([0, 1]), (MANY, 1)),
        "points": np.tile(np.float32([[0, 0], [40, 40]]), (MANY, 1, 1)),
    }

    crop = jax.jit(partial(random_iou_crop, overlaps=(0.3, 1.0), visible=0.3))

    def crops(**other: np.ndarray) -> tuple[np.ndarray, Batch]:
        made = crop(keys(MANY), make_batch({**arrays, **other}))
        low, high = np.moveaxis(np.asarray(made["points"], np.float64), 1, 0)
        factor = (high - low) / 40
        return np.concatenate([-low / factor, (40 - low) / factor], axis=-1), made

    box, made = crops()
    whole = np.abs(box - [0, 0, 40, 40]).max(axis=1) < 1e-3
    shared = np.clip(np.minimum(box, boxes[:, 0])[:, 2:] - np.maximum(box, boxes[:, 0])[:, :2], 0, None).prod(axis=1)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (box, boxes[:, 0])]
    iou = shared / (areas[0] + areas[1] - shared)
    assert iou[~whole].min() > 0.299 and (shared / areas[1])[~whole].min() > 0.299
    assert 0.4 < whole.mean() < 0.8  # one of two where both can be, all elsewhere
    sides = (box[:, 2:] - box[:, :2]) / 40
    assert sides.min() > 0.299 and sides.max() < 1.001
    ratio = sides[:, 0] / sides[:, 1]
    assert ratio.min() > 0.49 and ratio.max() < 2.01 and np.median(ratio[~whole]) == pytest.approx(1, abs=0.15)
    labels, marks = np.asarray(made["box_labels"]), np.asarray(made["box_ignored"])
    assert (labels[:, 0] == 1).all() and not marks[:, 0].any()  # there is always something to find
    empty, _ = crops(box_ignored=np.ones((MANY, 2), np.uint8))  # nothing to hold: any crop will do
    assert abs(np.mean(np.abs(empty - [0, 0, 40, 40]).max(axis=1) < 1e-3) - 0.5) < 0.06


@pytest.mark.parametrize(
    "crop,said",
    [
        (partial(random_iou_crop, overlaps=()), "overlaps must lie in"),
        (partial(random_iou_crop, overlaps=(2.0,)), "overlaps must lie in"),
        (partial(random_iou_crop, sides=(0.0, 1.0)), "sides must be 0 < low <= high <= 1"),
        (partial(random_iou_crop, aspect=(2.0, 1.0)), "aspect must be 0 < low <= high"),
        (partial(random_iou_crop, tries=0), "at least one of tries"),
        (partial(scale_jitter, factor=(0.0, 1.0)), "scale_jitter factor must be 0 < low <= high"),
    ],
)
def test_wrong_settings_of_crops_are_refused(crop, said: str, make_batch, keys) -> None:
    with pytest.raises(ValueError, match=said):
        jax.eval_shape(crop, keys(2), make_batch({"image": np.zeros((2, 8, 8, 1), np.float32)}))
