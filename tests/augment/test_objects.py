"""What becomes of boxes, for every augmentation that treats them: none outside, inverted or empty, each around what it
was around, and nothing that is seen left to the background."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.augment.collage import copy_paste, mosaic
from cnn_jax.augment.draw import LEFT_OUT
from cnn_jax.augment.geometry import flip, random_iou_crop, random_resized_crop, rotate, scale, scale_jitter, shift
from cnn_jax.augment.mix import mixup
from cnn_jax.augment.objects import joined, renumbered, seen
from cnn_jax.augment.policy import trivial_augment
from cnn_jax.batch import VALID, Batch
from cnn_jax.data.spec import Field

COUNT, HEIGHT, WIDTH, ROWS = 128, 24, 32, 4
# Each with how far a box may be from the pixels it is around: nothing where these are copied, less than one pixel where
# they are interpolated.
ALONG_THE_AXES: dict[str, tuple[Any, float]] = {
    "flip": (flip, 0.0),
    "shift": (partial(shift, pixels=9), 0.0),
    "mixup": (partial(mixup, alpha=1.5), 0.0),
    "copy_paste": (partial(copy_paste, border=0, visible=0.3), 0.0),
    "random_resized_crop": (random_resized_crop, 1.0),
    "random_iou_crop": (random_iou_crop, 1.0),
    "scale": (partial(scale, factor=(0.6, 3.0), visible=0.5), 1.0),
    "scale_jitter": (partial(scale_jitter, fill=0.0), 1.0),
    "mosaic": (partial(mosaic, fill=0.0, probability=0.9), 1.0),
    "mosaic_few": (partial(mosaic, fill=0.0, most=5), 1.0),
}
UNMARKED = ("scale", "mosaic", "copy_paste")  # the rule is one function: three that shrink, cut and cover will do
TURNED = {"rotate": partial(rotate, degrees=180.0), "trivial_augment": trivial_augment}


def scenes(seed: int) -> dict[str, np.ndarray]:
    """Up to four rectangles an example, side by side. A rectangle is seen in a channel of its own, which is its class;
    16 in all, so that it is known again in the image of a neighbour."""
    random = np.random.default_rng(seed)
    cell = np.array([WIDTH, HEIGHT]) // 2
    size = random.integers(1, cell + 1, (COUNT, ROWS, 2))
    corner = random.integers(0, cell - size + 1) + np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * cell
    there = random.random((COUNT, ROWS)) < 0.8
    boxes = np.concatenate([corner, corner + size], axis=-1) * there[..., None]
    labels = np.where(there, np.arange(COUNT)[:, None] % 4 * ROWS + np.arange(ROWS), -1)
    image = np.zeros((COUNT, HEIGHT, WIDTH, 4 * ROWS), np.float32)
    for example, row in np.argwhere(there):
        left, top, right, bottom = boxes[example, row]
        image[example, top:bottom, left:right, labels[example, row]] = 1
    return {
        "image": image,
        "boxes": boxes.astype(np.float32),
        "box_labels": labels.astype(np.int32),
        "box_ignored": (random.choice([0, 0, 0, 1, 2], (COUNT, ROWS)) * there).astype(np.uint8),
        "box_areas": (labels + 100.0 * there).astype(np.float32),
        VALID: np.ones(COUNT, np.float32),
    }


def batch_of(arrays: dict[str, Any]) -> Batch:
    fields = {name: Field(name, x.shape[1:], str(x.dtype)) for name, x in arrays.items() if name != VALID}  # type: ignore[arg-type]
    if "image" in fields:
        fields["image"] = fields["image"]._replace(range=(0.0, 1.0))
    return Batch({name: jnp.asarray(x) for name, x in arrays.items()}, fields)


def without_marks(batch: Batch) -> Batch:
    arrays = {name: array for name, array in batch.items() if name != "box_ignored"}
    return Batch(arrays, {name: field for name, field in batch.fields.items() if name in arrays})


@jax.jit
def everything(seed: jax.Array, batch: Batch) -> dict[str, dict[str, Batch]]:
    """All of them, with marks of what is ignored, some without; as one program, which is compiled faster."""
    keys = jax.random.split(jax.random.key(seed), COUNT)
    along = {name: augmentation for name, (augmentation, _) in ALONG_THE_AXES.items()}
    grey = batch.with_field("image", batch.fields["image"]._replace(shape=(HEIGHT, WIDTH, 1)), batch["image"][..., :1])
    return {
        "marked": {name: f(keys, batch) for name, f in along.items()},
        "unmarked": {name: along[name](keys, without_marks(batch)) for name in UNMARKED},
        "turned": {name: f(keys, grey) for name, f in TURNED.items()},
    }


def hulls(mask: np.ndarray) -> np.ndarray:
    """left, top, right, bottom [B, K, 4] of the true pixels of [B, H, W, K]."""
    rows, columns = mask.any(axis=2).swapaxes(1, 2), mask.any(axis=1).swapaxes(1, 2)
    right, bottom = WIDTH - columns[..., ::-1].argmax(axis=-1), HEIGHT - rows[..., ::-1].argmax(axis=-1)
    return np.stack([columns.argmax(axis=-1), rows.argmax(axis=-1), right, bottom], axis=-1)


def check_rows(name: str, result: Batch) -> None:
    """No box outside, inverted or empty; what is no object is all zeros and of the class -1."""
    boxes, labels = np.asarray(result["boxes"]), np.asarray(result["box_labels"])
    there = boxes.any(axis=-1)
    assert (boxes >= 0).all() and (boxes <= [WIDTH, HEIGHT] * 2).all(), name
    assert (boxes[there][:, 2:] > boxes[there][:, :2]).all(), name
    np.testing.assert_array_equal(labels >= 0, there, err_msg=name)
    np.testing.assert_array_equal(result["box_areas"], np.where(there, labels + 100, 0), err_msg=name)
    if "box_ignored" in result:
        assert not np.asarray(result["box_ignored"])[~there].any(), name


@settings(max_examples=8, deadline=None)  # of 128 images each: a thousand draws of every augmentation
@given(seed=st.integers(0, 10**6))
def test_a_thousand_draws_keep_boxes_around_what_is_seen(seed: int) -> None:
    scene = scenes(seed)
    for kind, results in everything(seed, batch_of(scene)).items():
        for name, result in results.items():
            check_rows(name, result)
            if kind == "turned":
                continue
            image, boxes, labels = (np.asarray(result[field]) for field in ("image", "boxes", "box_labels"))
            mask = (image > 0.5 * image.max(axis=(1, 2), keepdims=True)) & (image > 0.05)
            around = np.take_along_axis(hulls(mask), np.maximum(labels, 0)[..., None], axis=1)
            counts = labels >= 0
            if kind == "marked":
                counts &= np.asarray(result["box_ignored"]) == 0
            assert np.abs(boxes - around)[counts].max() <= ALONG_THE_AXES[name][1] + 1e-4, name
            assert 0.03 < counts.any(axis=1).mean(), name
            if kind == "marked" and LEFT_OUT not in result:  # what is seen has a row, if only to be ignored
                rows = (labels[..., None] == np.arange(4 * ROWS)).any(axis=1)
                assert not ((image > 0.5) & (mask & ~rows[:, None, None])).any(), name


@cache
def rule(visible: float, marked: bool, least: float = 0.0) -> dict[str, np.ndarray]:
    """Six objects of shares 1, .4, .1, 0, .1, .4, of which the fifth is a crowd and the last 2 pixels wide."""
    boxes = jnp.tile(jnp.float32([1, 1, 9, 9]), (1, 6, 1)).at[0, 5].set(jnp.float32([1, 1, 3, 9]))
    rows: Any = {"boxes": boxes + 1, "box_labels": jnp.arange(6)[None], "box_areas": jnp.full((1, 6), 7.0)}
    if marked:
        rows["box_ignored"] = jnp.uint8([[0, 0, 0, 0, 2, 0]])
    share = jnp.float32([[1, 0.4, 0.1, 0, 0.1, 0.4]])
    return {role: np.asarray(array)[0] for role, array in seen(rows, boxes, share, visible, least).items()}


def test_what_is_hardly_seen_is_ignored_where_the_data_can_say_so_and_lost_elsewhere() -> None:
    marked = rule(0.3, True)
    np.testing.assert_array_equal(marked["box_labels"], [0, 1, 2, -1, 4, 5])
    np.testing.assert_array_equal(marked["box_ignored"], [0, 0, 1, 0, 2, 0])
    np.testing.assert_array_equal(marked["box_areas"], [7, 7, 7, 0, 7, 7])
    np.testing.assert_array_equal(marked["boxes"].any(axis=-1), [1, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(rule(0.3, False)["box_labels"], [0, 1, -1, -1, -1, 5])
    np.testing.assert_array_equal(rule(0.0, False)["box_labels"], [0, 1, 2, -1, 4, 5])
    np.testing.assert_array_equal(rule(0.0, True, least=3.0)["box_ignored"], [0, 0, 0, 0, 2, 1])
    np.testing.assert_array_equal(rule(0.0, False, least=3.0)["box_labels"], [0, 1, 2, -1, 4, -1])


def test_rows_are_joined_by_size_and_the_lost_ones_are_counted() -> None:
    sides = jnp.float32([[3, 0, 1], [2, 0, 0]]), jnp.float32([[5, 4, 0], [1, 0, 0]])
    parts: Any = [
        {"boxes": jnp.stack([0 * s, 0 * s, s, s], -1), "box_labels": jnp.where(s > 0, 10 * k + s, -1).astype(jnp.int32)}
        for k, s in enumerate(sides)
    ]
    batch = batch_of({"boxes": np.zeros((2, 3, 4), np.float32), "box_labels": np.zeros((2, 3), np.int32)})
    whole, place = joined(batch, parts, 0, "test")
    assert LEFT_OUT not in whole and whole.fields["boxes"].shape == (6, 4)
    np.testing.assert_array_equal(place, np.tile(np.arange(6), (2, 1)))
    few, place = joined(batch, parts, 2, "test")
    np.testing.assert_array_equal(few["box_labels"], [[15, 14], [2, 11]])
    np.testing.assert_array_equal(few["boxes"][..., 2], [[5, 4], [2, 1]])
    np.testing.assert_array_equal(few[LEFT_OUT], [2, 0])
    assert few.fields["box_labels"].shape == (2,) and few.fields[LEFT_OUT].role == "value"
    np.testing.assert_array_equal(place[0], [-1, -1, -1, 0, 1, -1])
    again, _ = joined(few, parts, 1, "test")  # after a second augmentation with a limit both losses are counted
    np.testing.assert_array_equal(again[LEFT_OUT], [5, 1])
    numbers = jnp.tile(jnp.arange(5, dtype=jnp.uint8)[None, None], (2, 2, 1))  # 4 has no row
    which = jnp.tile(jnp.arange(2)[:, None], (2, 1, 5))
    np.testing.assert_array_equal(renumbered(numbers, which, place, 2)[0], [[0, 0, 0, 0, 0], [0, 1, 2, 0, 0]])
    with pytest.raises(ValueError, match="a map of int8 cannot number 200 objects"):
        renumbered(numbers.astype(jnp.int8), which, jnp.zeros((2, 200), jnp.int32), 2)
