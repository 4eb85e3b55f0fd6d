"""Mosaic and copy-paste: which pixels come from where, and the numbers of objects in maps of them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment.collage import copy_paste, mosaic
from cnn_jax.augment.compose import compose
from cnn_jax.augment.content import content
from cnn_jax.augment.draw import LEFT_OUT
from cnn_jax.augment.geometry import flip
from cnn_jax.augment.mix import mixup
from cnn_jax.batch import VALID, Batch

COUNT, SIDE, ROWS = 16, 24, 3
PARTNER = np.arange(COUNT) ^ 1


@pytest.fixture(scope="module")
def discs(make_batch) -> Batch:
    """Three discs an example, the later over the earlier, as pixels, classes, numbers and tight boxes."""
    random = np.random.default_rng(0)
    row, column = np.indices((SIDE, SIDE)) + 0.5
    numbers = np.zeros((COUNT, SIDE, SIDE), np.int32)
    for example in range(COUNT):
        for number in range(1, ROWS + 1):
            (y, x), radius = random.uniform(4, SIDE - 4, 2), random.uniform(2, 6)
            numbers[example][(row - y) ** 2 + (column - x) ** 2 < radius**2] = number
    labels = np.arange(COUNT * ROWS, dtype=np.int32).reshape(COUNT, ROWS) + 1
    mine = numbers[..., None] == np.arange(1, ROWS + 1)
    labels = np.where(mine.any(axis=(1, 2)), labels, -1)
    classes = np.where(mine, labels[:, None, None], 0).max(axis=-1)
    rows, columns = mine.any(axis=2), mine.any(axis=1)
    low = np.stack([columns.argmax(axis=1), rows.argmax(axis=1)], axis=-1)
    high = SIDE - np.stack([columns[:, ::-1].argmax(axis=1), rows[:, ::-1].argmax(axis=1)], axis=-1)
    boxes = np.where(labels[..., None] >= 0, np.concatenate([low, high], axis=-1), 0)
    return make_batch(
        {
            "photo": classes[..., None].astype(np.float32),
            "classes": classes.astype(np.uint8),
            "numbers": numbers,
            "boxes": boxes.astype(np.float32),
            "what": labels,
            "mark": np.zeros((COUNT, ROWS), np.uint8),
        },
        {
            "photo": "image",
            "classes": "class_map",
            "numbers": "instance_map",
            "what": "box_labels",
            "mark": "box_ignored",
        },
        range=(0.0, 255.0),
    )


@pytest.mark.parametrize("most", [0, 2])
@pytest.mark.parametrize("make", [mosaic, copy_paste])
def test_numbers_are_those_of_the_rows(make: Any, most: int, discs: Batch, keys) -> None:
    """Where a pixel has a number its class is that of the row, whose box holds it; copied pixels leave it tight."""
    made = jax.jit(partial(make, most=most))(keys(COUNT), discs)
    numbers, classes, labels = (np.asarray(made[name]) for name in ("numbers", "classes", "what"))
    assert numbers.max() > (0 if most else ROWS) and numbers.max() <= labels.shape[1]
    found = np.take_along_axis(labels, np.maximum(numbers.reshape(COUNT, -1) - 1, 0), axis=1).reshape(numbers.shape)
    np.testing.assert_array_equal(classes[numbers > 0], found[numbers > 0])
    if most:
        assert labels.shape == (COUNT, most) and np.asarray(made[LEFT_OUT]).max() > 0
    else:  # what is seen has a row
        assert (numbers > 0)[(classes > 0) & (classes < 255)].all()
    for example, row in np.argwhere(labels >= 0):
        pixels = np.argwhere(numbers[example] == row + 1)
        if len(pixels):
            low, high = pixels.min(axis=0)[::-1], pixels.max(axis=0)[::-1] + 1
            box = np.asarray(made["boxes"])[example, row]
            if make is copy_paste:
                np.testing.assert_array_equal(box, [*low, *high])
            assert (low > box[:2] - 1).all() and (high < box[2:] + 1).all()


def test_copy_paste_pastes_the_pixels_of_objects_or_of_boxes(discs: Batch, keys) -> None:
    one, other = np.asarray(discs["photo"])[..., 0], np.asarray(discs["photo"])[PARTNER, ..., 0]
    whole = jax.jit(partial(copy_paste, probability=1.0, border=0))
    nothing = jax.jit(partial(copy_paste, probability=0.0))
    for name, batch in (("map", discs), ("box", _without(discs, "numbers"))):
        made = whole(keys(COUNT), batch)
        if name == "map":
            pasted = np.asarray(discs["numbers"])[PARTNER] > 0
        else:
            boxes = np.asarray(discs["boxes"])[PARTNER]
            left, top, right, bottom = (boxes[..., k][:, :, None, None] for k in range(4))
            row, column = np.indices((SIDE, SIDE))
            pasted = ((row >= top) & (row < bottom) & (column >= left) & (column < right)).any(axis=1)
        np.testing.assert_array_equal(made["photo"][..., 0], np.where(pasted, other, one), err_msg=name)
        np.testing.assert_array_equal(made["what"][:, ROWS:], np.asarray(discs["what"])[PARTNER])
    kept = nothing(keys(COUNT), discs)
    for field in ("photo", "classes", "numbers"):
        np.testing.assert_array_equal(kept[field], discs[field])
    np.testing.assert_array_equal(kept["boxes"][:, :ROWS], discs["boxes"])
    assert not kept["boxes"][:, ROWS:].any() and (kept["what"][:, ROWS:] == -1).all()
    soft = jax.jit(partial(copy_paste, probability=1.0, border=2))(keys(COUNT), discs)
    pasted = np.asarray(discs["numbers"])[PARTNER] > 0
    differ = np.asarray(soft["photo"])[..., 0] != np.where(pasted, other, one)
    near = jax.lax.reduce_window(pasted.astype(np.int32), 0, jax.lax.add, (1, 5, 5), (1, 1, 1), "SAME")
    assert differ.any() and not differ[near == 0].any() and not differ[near == 25].any()


def test_an_ignored_object_is_not_pasted_but_stays_ignored_where_it_is_seen(discs: Batch, keys) -> None:
    crowd = discs | {"mark": jnp.full((COUNT, ROWS), 2, jnp.uint8)}
    crowd = _without(crowd, "numbers")
    paste = jax.jit(partial(copy_paste, probability=1.0, visible=0.5))
    np.testing.assert_array_equal(paste(keys(COUNT), crowd)["photo"], discs["photo"])
    one = crowd | {
        "boxes": jnp.zeros((COUNT, ROWS, 4)).at[:, 0].set(jnp.float32([4, 4, 12, 12])).at[:, 1].set(
            jnp.float32([8, 4, 20, 12])
        ),
        "what": jnp.tile(jnp.int32([3, 5, -1]), (COUNT, 1)),
        "mark": jnp.tile(jnp.uint8([0, 1, 0]), (COUNT, 1)),
    }  # fmt: skip
    made = paste(keys(COUNT), one)
    for example in range(COUNT):  # the first hides the neighbour's first whole, and a third of its second
        np.testing.assert_array_equal(made["what"][example], [-1, 5, -1, 3, 5, -1])
        np.testing.assert_array_equal(made["mark"][example], [0, 1, 0, 0, 1, 0])
        np.testing.assert_array_equal(
            made["boxes"][example, [1, 3, 4]], [[12, 4, 20, 12], [4, 4, 12, 12], [8, 4, 12, 12]]
        )


def test_a_mosaic_shows_its_four_examples_in_their_quarters(make_batch, keys) -> None:
    """An image of one value each: four even quarters that meet where they should, the own one at the top left."""
    values = np.arange(COUNT, dtype=np.float32)
    flat = make_batch({"image": np.broadcast_to(values[:, None, None, None], (COUNT, 20, 40, 1))}, range=(-1.0, 20.0))
    made = np.asarray(jax.jit(partial(mosaic, factor=(1.0, 1.0)))(keys(COUNT), flat)["image"])[..., 0].round(3)
    centres = []
    for example in range(COUNT):
        picture = made[example]
        assert [picture[0, 0], picture[0, -1], picture[-1, 0], picture[-1, -1]] == [example ^ k for k in range(4)]
        down, across = (picture[:, 0] == example).sum(), (picture[0] == example).sum()
        for k, part in enumerate((picture[:down, :across], picture[:down, across:], picture[down:, :across])):
            assert (part == example ^ k).all()
        centres.append((down / 20, across / 40))
    assert np.min(centres) >= 0.25 and np.max(centres) <= 0.75 and np.std(centres) > 0.08
    small = np.asarray(jax.jit(partial(mosaic, factor=(0.2, 0.2), fill=-1.0))(keys(COUNT), flat)["image"])
    assert 0.1 < (small >= 0).mean() < 0.2  # 4 of .04, less what is cut; the rest is fill
    half = jax.jit(partial(mosaic, probability=0.5))(keys(COUNT), flat)["image"]
    whole = (half == flat["image"]).all(axis=(1, 2, 3)).sum()
    assert 3 <= whole <= 13


def test_no_object_comes_from_an_image_that_could_not_be_decoded(discs: Batch, keys) -> None:
    """Its image shows none. Own rows stay: such an example counts nowhere."""
    broken = discs | {VALID: discs[VALID].at[1].set(0)}
    lost = set(np.asarray(discs["what"])[1].tolist()) - {-1}
    for make in (mosaic, copy_paste, partial(mixup, alpha=8.0)):
        run = jax.jit(make)
        made, whole = (np.asarray(run(keys(COUNT), _without(b, "numbers", "classes"))["what"]) for b in (broken, discs))
        assert all(not lost & set(made[example].tolist()) for example in (0, 2, 3)), make
        assert lost & set(whole[0].tolist())


def test_mixup_keeps_the_boxes_of_both_but_of_an_image_that_is_hardly_seen(discs: Batch, keys) -> None:
    plain = _without(discs, "numbers", "classes")
    made = jax.jit(partial(mixup, alpha=0.3, visible=0.2))(keys(COUNT), plain)
    weight = np.asarray(made["mix_weight"])
    np.testing.assert_array_equal(made["boxes"], np.concatenate([plain["boxes"], plain["boxes"][PARTNER]], axis=1))
    there = np.asarray(made["what"]) >= 0
    faint = np.repeat(np.stack([1 - weight, weight], axis=1) < 0.2, ROWS, axis=1)
    np.testing.assert_array_equal(made["mark"], faint & there)
    assert faint.any() and not faint.all()
    few = jax.eval_shape(partial(mixup, most=4), keys(COUNT), plain)
    assert few["boxes"].shape == (COUNT, 4, 4) and few[LEFT_OUT].shape == (COUNT,)


def test_the_placement_of_several_pictures_is_that_of_all(make_batch, keys) -> None:
    place = np.float32([[0.5, 0.5, 2, 0, 20, 24], [1, 0.5, 0, 4, 8, 8], [1, 1, 4, 4, 4, 4], [0, 0, 0, 0, 0, 0]])
    batch = make_batch({"image": np.zeros((4, 12, 16, 1), np.float32), "placement": place})
    with_boxes = make_batch(
        {"image": np.zeros((4, 12, 16, 1), np.float32), "placement": place, "boxes": place[:, None, :4]}
    )
    hull = [[0, 0, 12, 12], [0, 0, 12, 12], [0, 0, 8, 8], [0, 0, 0, 0]]  # the last has no size
    for mixed in (jax.jit(mixup)(keys(4), batch), jax.jit(copy_paste)(keys(4), with_boxes)):
        np.testing.assert_allclose(content(mixed["placement"]), hull, atol=1e-5)
    for probability, box in ((1.0, [0, 0, 16, 12]), (0.0, [0, 2, 12, 12])):
        made = jax.jit(partial(mosaic, probability=probability))(keys(4), batch)
        np.testing.assert_allclose(content(made["placement"])[0], box, atol=1e-5)


def test_a_chain_as_detectors_are_trained_with(discs: Batch, keys) -> None:
    chain = compose(partial(copy_paste, most=4), partial(mosaic, most=6), flip, partial(mixup, alpha=1.5, most=8))
    made = jax.eval_shape(chain, keys(COUNT), _without(discs, "numbers", "classes"))
    assert made["boxes"].shape == (COUNT, 8, 4) and made[LEFT_OUT].shape == (COUNT,)
    assert made["what"].shape == made["mark"].shape == (COUNT, 8)


def test_wrong_batches_and_settings_are_refused(discs: Batch, keys, make_batch) -> None:
    few = jax.tree.map(lambda array: array[:6], discs)
    image = np.zeros((4, 8, 8, 1), np.float32)
    alone = make_batch({"image": image, "numbers": np.zeros((4, 8, 8), np.int32)}, {"numbers": "instance_map"})
    for made, said in (
        (partial(mosaic, keys(6), few), "mosaic needs groups of 4 examples; .* not 6"),
        (partial(copy_paste, keys(3), jax.tree.map(lambda x: x[:3], discs)), "copy_paste needs pairs .* not 3"),
        (partial(copy_paste, keys(4), make_batch({"image": image})), "needs a field of the role boxes; .* image"),
        (partial(mosaic, keys(4), alone), r"mosaic cannot combine 'numbers' \(instance_map\)"),
        (partial(mosaic, keys(16), discs, factor=(0.0, 1.0)), "mosaic factor must be 0 < low <= high"),
        (partial(mosaic, keys(16), discs, probability=2.0), "mosaic probability must lie in"),
        (partial(mosaic, keys(16), discs, most=-1), "mosaic keeps at most a number of rows from 1 on.*most=-1"),
        (partial(copy_paste, keys(16), discs, visible=2.0), "visible share must lie in"),
        (partial(copy_paste, keys(16), discs, border=-1), "border must not be negative"),
    ):
        with pytest.raises(ValueError, match=said):
            jax.eval_shape(made)


def _without(batch: Batch, *names: str) -> Batch:
    fields = {name: field for name, field in batch.fields.items() if name not in names}
    return Batch({name: array for name, array in batch.items() if name not in names}, fields)
