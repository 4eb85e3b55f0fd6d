"""What has a place moves with the image: maps to the pixel, boxes and points to a rounding."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.augment.affine import matrix, moved, sample, warp, warped
from cnn_jax.augment.content import content
from cnn_jax.augment.erase import cutout
from cnn_jax.augment.geometry import flip, random_resized_crop, rotate, scale, scale_jitter, shift
from cnn_jax.augment.policy import rand_augment, trivial_augment
from cnn_jax.batch import Batch
from cnn_jax.data.spec import IGNORED, Field

COUNT, HEIGHT, WIDTH = 16, 40, 48
RECTANGLE = (14, 10, 33, 27)  # left, top, right, bottom
LEFT, TOP, RIGHT, BOTTOM = RECTANGLE


@pytest.fixture
def scene(make_batch) -> Batch:
    """A bright rectangle, as pixels, as class 3, as object 7, as a box, and by its corners and centre."""
    mask = np.zeros((COUNT, HEIGHT, WIDTH), np.float32)
    mask[:, TOP:BOTTOM, LEFT:RIGHT] = 1
    boxes = np.zeros((COUNT, 3, 4), np.float32)
    boxes[:, 0] = RECTANGLE
    return make_batch(
        {
            "photo": mask[..., None],
            "classes": (3 * mask).astype(np.uint8),
            "objects": (7 * mask).astype(np.int32),
            "where": boxes,
            "what": np.tile(np.int32([3, -1, -1]), (COUNT, 1)),
            "corners": np.tile(np.float32([[LEFT, TOP], [RIGHT, BOTTOM], [23.5, 18.5]]), (COUNT, 1, 1)),
        },
        {
            "photo": "image",
            "classes": "class_map",
            "objects": "instance_map",
            "where": "boxes",
            "what": "box_labels",
            "corners": "points",
        },
    )


def hulls(mask: np.ndarray) -> np.ndarray:
    """left, top, right, bottom of the true pixels of [B, H, W]."""
    rows, columns = mask.any(axis=2), mask.any(axis=1)
    height, width = mask.shape[1:]
    right, bottom = width - columns[:, ::-1].argmax(axis=1), height - rows[:, ::-1].argmax(axis=1)
    return np.stack([columns.argmax(axis=1), rows.argmax(axis=1), right, bottom], axis=1)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [B, 4]."""
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    inside, both = sides.prod(axis=1), (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1)
    return inside / (both - inside)


@pytest.mark.parametrize(
    "move,nearly",
    [
        (flip, 0.999),
        (partial(shift, pixels=6), 0.999),
        (partial(shift, pixels=6, padding="reflect"), 0.999),
        (rotate, 0.84),
        (partial(rotate, degrees=180.0), 0.84),
        (scale, 0.88),
        (partial(random_resized_crop, area=(0.6, 1.0)), 0.88),
        (rand_augment, 0.8),
        (partial(trivial_augment, visible=0.5), 0.6),  # its shear makes corners thinner than pixels
    ],
)
def test_the_box_is_the_hull_of_the_moved_mask(move, nearly: float, scene: Batch, keys) -> None:
    result = jax.jit(move)(keys(COUNT), scene)
    mask, box = np.asarray(result["classes"]) == 3, np.asarray(result["where"])
    np.testing.assert_array_equal(result["objects"], 7 * mask)
    np.testing.assert_array_equal(box[:, 1:], 0)
    np.testing.assert_array_equal(result["what"][:, 0], np.where(box[:, 0].any(axis=1), 3, -1))
    np.testing.assert_array_equal(result["what"][:, 1:], -1)
    if getattr(move, "func", move) not in (rand_augment, trivial_augment):  # they change the brightness too
        bright = np.asarray(result["photo"])[..., 0] > 0.5
        known = np.asarray(result["classes"]) != IGNORED
        assert (bright & known & mask).sum() > 0.97 * (mask | (bright & known)).sum()
    # The hull of a turned rectangle's corners is cut to the image, not the rectangle: compare those that are whole.
    whole = (box[:, 0] > 0).all(axis=1) & (box[:, 0, 2] < WIDTH) & (box[:, 0, 3] < HEIGHT)
    assert whole.sum() >= 3
    assert overlap(box[whole, 0], hulls(mask[whole])).min() > nearly
    # A point goes where its corner goes: the centre stays that of the hull.
    centre = np.asarray(result["corners"])[:, 2]
    np.testing.assert_allclose(centre[whole], (box[whole, 0, :2] + box[whole, 0, 2:]) / 2, atol=1e-4)


def test_flip_and_shift_move_boxes_and_points_exactly(scene: Batch, keys) -> None:
    box = np.random.default_rng(0).uniform(0, 40, (COUNT, 3, 4)).astype(np.float32)
    box = np.concatenate([np.minimum(box[..., :2], box[..., 2:]), np.maximum(box[..., :2], box[..., 2:])], axis=-1)
    scene = scene | {"where": jnp.asarray(box), "corners": jnp.asarray(box[..., :2])}
    mirrored = jax.jit(partial(flip, probability=1.0))(keys(COUNT), scene)
    left, top, right, bottom = np.moveaxis(box, -1, 0)
    np.testing.assert_array_equal(mirrored["where"], np.stack([WIDTH - right, top, WIDTH - left, bottom], axis=-1))
    np.testing.assert_array_equal(mirrored["corners"], np.stack([WIDTH - left, top], axis=-1))
    for still in (partial(flip, probability=0.0), partial(shift, pixels=0), partial(rotate, degrees=0.0)):
        result = jax.jit(still)(keys(COUNT), scene)
        for name in scene.keys() - {"what", "where"}:
            np.testing.assert_array_equal(result[name], scene[name], err_msg=f"{still} {name}")
        np.testing.assert_array_equal(result["where"], np.minimum(box, [WIDTH, HEIGHT] * 2))

    shifted = jax.jit(partial(shift, pixels=5))
    ramp = jnp.broadcast_to(jnp.arange(1.0 * WIDTH)[None, None, :, None], (COUNT, HEIGHT, WIDTH, 1))
    result = shifted(keys(COUNT), scene | {"photo": ramp})
    along = WIDTH // 2 - np.asarray(result["photo"])[:, HEIGHT // 2, WIDTH // 2, :1]  # as the copied image shows
    assert len(np.unique(along)) > 4
    np.testing.assert_array_equal(result["corners"][..., 0], left + along)
    np.testing.assert_array_equal(result["where"][..., 2], np.clip(right + along, 0, WIDTH))


@cache
def on_shape(height: int, width: int) -> Any:
    fields = {
        "photo": Field("image", (height, width, 1), "float32"),
        "classes": Field("class_map", (height, width), "uint8"),
        "where": Field("boxes", (4, 4), "float32"),
        "what": Field("box_labels", (4,), "int32"),
        "spots": Field("points", (4, 2), "float32"),
    }

    @jax.jit
    def run(way: jax.Array, arrays: dict[str, jax.Array], fill: jax.Array) -> Batch:
        return warped("test", Batch({**arrays, "valid": jnp.ones(len(way))}, fields), way, fill, 0.25)  # type: ignore[arg-type]

    return run


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(1, 1), (5, 8), (9, 6)]),
    seed=st.integers(0, 10**6),
    turn=st.floats(-np.pi, np.pi),
    zoom=st.floats(0.3, 3.0),
    sheer=st.floats(-1.0, 1.0),
    along=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
    limits=st.tuples(st.integers(-1000, 1000), st.floats(1, 1000)),
)
def test_any_affine_map_agrees_with_its_definition(shape, seed, turn, zoom, sheer, along, limits) -> None:
    height, width = shape
    random = np.random.default_rng(seed)
    linear = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ [[zoom, sheer], [0, zoom]]
    way = np.concatenate([linear, np.array(along)[:, None]], axis=1).astype(np.float32)
    low, high = limits[0], limits[0] + limits[1]
    first, second = (random.uniform(0, 1, (4, 2)) * [width, height] for _ in range(2))
    boxes = np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=-1)
    boxes[3] = 0
    arrays = {
        "photo": random.uniform(low, high, (height, width, 1)).astype(np.float32),
        "classes": random.integers(0, 200, (height, width)).astype(np.uint8),
        "where": boxes.astype(np.float32),
        "what": np.int32([5, 6, 7, -1]),
        "spots": first.astype(np.float32),
    }
    fill = np.float32(random.uniform(low, high))
    result = on_shape(*shape)(way[None], {name: array[None] for name, array in arrays.items()}, fill)

    photo, within = np.asarray(result["photo"]), (min(arrays["photo"].min(), fill), max(arrays["photo"].max(), fill))
    assert photo.min() >= within[0] and photo.max() <= within[1]

    middle = (np.array(shape) - 1) / 2
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1) - middle
    source = grid @ way[:, :2].astype(np.float64).T + way[:, 2] + middle
    row, column = np.moveaxis(np.floor(source + 0.5).astype(int), -1, 0)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    expected = np.where(inside, arrays["classes"][row.clip(0, height - 1), column.clip(0, width - 1)], IGNORED)
    clear = (np.abs(source + 0.5 - np.round(source + 0.5)) > 1e-4).all(axis=-1)  # not on the border of two pixels
    np.testing.assert_array_equal(np.asarray(result["classes"])[0][clear], expected[clear])

    def onward(points: np.ndarray) -> np.ndarray:
        away = points[..., ::-1] - np.array(shape) / 2 - way[:, 2]
        there = np.linalg.solve(way[:, :2].astype(np.float64), away[..., None])[..., 0]
        return (there + np.array(shape) / 2)[..., ::-1]

    rounding = 1e-3 / min(1, zoom**2)
    np.testing.assert_allclose(result["spots"][0], onward(first), atol=rounding)
    corners = onward(np.stack([boxes[:, [0, 2, 0, 2]], boxes[:, [1, 1, 3, 3]]], axis=-1))
    hull = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=-1)
    cut = np.clip(hull, 0, [width, height] * 2)
    share = (cut[:, 2:] - cut[:, :2]).prod(axis=1) / np.maximum((hull[:, 2:] - hull[:, :2]).prod(axis=1), 1e-9)
    moved_boxes, labels = np.asarray(result["where"])[0], np.asarray(result["what"])[0]
    for box, label, place, left, old in zip(moved_boxes, labels, cut, share, arrays["what"], strict=True):
        if old == -1 or left < 0.249:
            assert label == -1 and not np.any(box)
        elif left > 0.251:
            assert label == old
            np.testing.assert_allclose(box, place, atol=rounding)


def test_a_box_counts_while_enough_of_it_is_visible(scene: Batch) -> None:
    one, zero = jnp.ones(COUNT), jnp.zeros(COUNT)
    out = jnp.arange(COUNT) * 4.0  # moves to the left, 19 wide: 14 are free, then 5 left after 28
    way = matrix((one, zero, zero), (zero, one, out))
    for visible, count in ((0.0, 9), (0.1, 8), (0.5, 6), (1.0, 4)):
        result = warped("test", scene, way, 0.0, visible)
        share = np.clip(RIGHT - np.asarray(out), 0, RIGHT - LEFT) / (RIGHT - LEFT)
        kept = (share >= visible) & (share > 0)
        assert kept.sum() == count
        np.testing.assert_array_equal(result["what"][:, 0], np.where(kept, 3, -1))
        np.testing.assert_array_equal(np.asarray(result["where"][:, 0]).any(axis=1), kept)
    with pytest.raises(ValueError, match="visible share must lie in"):
        warped("test", scene, way, 0.0, 1.5)


@pytest.mark.parametrize("move", [flip, partial(shift, pixels=6), scale, partial(rotate, degrees=90.0), scale_jitter])
def test_the_placement_is_that_of_the_moved_picture(move, scene: Batch, keys) -> None:
    """The picture's box moves as that of an object would, and is not cut; its size is what it was."""
    whole = np.float32([RECTANGLE])
    placement = np.float32([(BOTTOM - TOP) / 50, (RIGHT - LEFT) / 60, TOP, LEFT, 50, 60])
    field = Field("placement", (6,), "float32")
    result = jax.jit(move)(keys(COUNT), scene.with_field("lies", field, jnp.tile(placement, (COUNT, 1))))
    box, where = np.asarray(content(result["lies"])), np.asarray(result["where"])[:, 0]
    kept = where.any(axis=1)
    assert kept.sum() > 8 and np.abs(where - whole)[kept].max() >= 1
    np.testing.assert_allclose(np.clip(box, 0, [WIDTH, HEIGHT] * 2)[kept], where[kept], atol=1e-3)
    np.testing.assert_array_equal(result["lies"][:, 4:], np.tile([50, 60], (COUNT, 1)))


def test_points_that_leave_stay_outside(scene: Batch) -> None:
    one, zero = jnp.ones(COUNT), jnp.zeros(COUNT)
    result = warped("test", scene, matrix((one, zero, zero), (zero, one, 20 * one)), 0.0, 0.1)
    np.testing.assert_array_equal(result["corners"][0], [[LEFT - 20, TOP], [RIGHT - 20, BOTTOM], [3.5, 18.5]])


def test_boxes_may_be_none_and_unlabelled(scene: Batch, keys, make_batch) -> None:
    empty = scene | {"where": jnp.zeros((COUNT, 0, 4)), "what": jnp.zeros((COUNT, 0), jnp.int32)}
    assert rotate(keys(COUNT), empty)["where"].shape == (COUNT, 0, 4)
    ignored = make_batch({"image": scene["photo"], "boxes": scene["where"]})
    np.testing.assert_array_equal(flip(keys(COUNT), ignored)["boxes"], flip(keys(COUNT), scene)["where"])
    crowd = scene | {"what": jnp.full((COUNT, 3), -1)}  # a box without a class is a box
    np.testing.assert_array_equal(flip(keys(COUNT), crowd)["where"], flip(keys(COUNT), scene)["where"])


@pytest.mark.parametrize("padding", ["constant", "reflect", "edge"])
def test_exact_moves_copy_maps_as_they_copy_images(padding: str, make_batch, keys) -> None:
    values = np.random.default_rng(0).integers(0, 200, (COUNT, 9, 11)).astype(np.uint8)
    data = make_batch({"image": values[..., None].astype(np.float32), "class_map": values}, range=(0.0, 255.0))
    turned = flip(keys(COUNT), data)
    np.testing.assert_array_equal(turned["image"][..., 0], turned["class_map"])
    result = shift(keys(COUNT), data, pixels=4, padding=padding, fill=255.0)
    image, classes = np.asarray(result["image"])[..., 0], np.asarray(result["class_map"])
    known = classes != IGNORED
    np.testing.assert_array_equal(image[known], classes[known])
    assert not known.all() and ((image == 255) == ~known).all() == (padding == "constant")


@pytest.mark.parametrize("move", [rotate, scale, random_resized_crop, partial(shift, fill=0.3)])
def test_images_of_any_range_keep_it(move, make_batch, keys) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (COUNT, 8, 8, 3)).astype(np.float32)
    for low, high in ((0.0, 255.0), (-128.0, 127.0)):
        result = jax.jit(move)(keys(COUNT), make_batch({"image": image + low}, range=(low, high)))
        assert result["image"].min() >= low and result["image"].max() <= high
        assert result["image"].max() > 100 and result.fields["image"].range == (low, high)


def test_a_fill_beyond_the_promised_range_widens_it(make_batch, keys) -> None:
    data = make_batch({"image": np.full((2, 8, 8, 3), 0.5, np.float32)}, range=(0.25, 0.75))
    for paint, fill in ((rotate, 0.0), (shift, (0.5, 2.0, 0.5)), (partial(cutout, size=2), -1.0)):
        field = jax.eval_shape(partial(paint, fill=fill), keys(2), data).fields["image"]
        assert field.range == (min(0.25, np.min(fill)), max(0.75, np.max(fill)))
    edge = partial(shift, padding="edge")
    assert jax.eval_shape(edge, keys(2), data).fields["image"].range == (0.25, 0.75)
    unknown = make_batch({"image": np.zeros((2, 8, 8, 3), np.float32)}, range=None)
    assert jax.eval_shape(rotate, keys(2), unknown).fields["image"].range is None
    with pytest.raises(ValueError, match="fill has 2 channels, the image 3"):
        rotate(keys(2), data, fill=(0.0, 1.0))


def test_a_pixel_read_at_its_centre_is_that_pixel() -> None:
    image = jnp.asarray(np.random.default_rng(0).normal(0, 1e3, (2, 5, 7, 3)), jnp.float32)
    rows, columns = jnp.meshgrid(jnp.arange(5.0), jnp.arange(7.0), indexing="ij")
    grid = jnp.broadcast_to(rows, (2, 5, 7)), jnp.broadcast_to(columns, (2, 5, 7))
    np.testing.assert_array_equal(sample(image, *grid, 0.3), image)


def test_what_cannot_be_moved_is_refused(scene: Batch, make_batch, keys) -> None:
    still = partial(warp, matrix=jnp.zeros((COUNT, 2, 3)))
    for name, role, array, said in (
        ("angle", "value", np.zeros(COUNT), r"^test cannot move 'angle' \(value\)$"),
        ("coarse", "class_map", np.zeros((COUNT, 4, 4), np.uint8), "one size; got photo 40 x 48, .*coarse 4 x 4"),
        ("more", "boxes", np.zeros((COUNT, 1, 4), np.float32), "needs one field of boxes, .* has where, what, more"),
        ("marks", "points", np.zeros((COUNT, 1, 2), np.int32), "as floats; 'marks' holds int32"),
    ):
        with pytest.raises(ValueError, match=said):
            field = Field(role, array.shape[1:], str(array.dtype))  # type: ignore[arg-type]
            moved("test", scene.with_field(name, field, jnp.asarray(array)), jnp.zeros((COUNT, 2, 3)), still)
    with pytest.raises(ValueError, match=r"^flip needs a field of the role image; the batch has label \(label\)$"):
        flip(keys(2), make_batch({"label": np.zeros(2)}))
