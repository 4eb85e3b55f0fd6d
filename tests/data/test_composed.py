"""Composed scenes: boxes are those of the pixels that are seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data import scenes as module
from cnn_jax.data.composed import Item, boxes_of, compose
from cnn_jax.data.spec import named


def items(draw, count):
    found = []
    for label in range(count):
        opaque = draw.random(draw.integers(1, 9, 2)) < 0.7
        opaque[0, 0] = True
        found.append(Item(np.full((*opaque.shape, 1), label + 1, np.uint8), opaque, label))
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 8), st.sampled_from([0.0, 0.3, 1.0]))
def test_boxes_are_those_of_the_pixels_that_are_seen(seed, count, overlap):
    draw = np.random.default_rng(seed)
    wanted = items(draw, count)
    scene, left = compose(draw, np.zeros((16, 20, 1), np.uint8), wanted, overlap)
    assert len(scene.labels) + left == count
    for number, (box, label, share) in enumerate(zip(scene.boxes, scene.labels, scene.visible, strict=True), 1):
        mine = scene.image[..., 0] == label + 1  # each item has a colour of its own
        np.testing.assert_array_equal(scene.instances == number, mine)
        assert share == pytest.approx(mine.sum() / wanted[label].opaque.sum())
        if mine.any():
            rows, columns = np.nonzero(mine)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        else:
            assert not box.any()
    if overlap == 0:
        assert (scene.visible == 1).all()


def test_what_finds_no_place_is_counted():
    large = Item(np.ones((9, 9, 1), np.uint8), np.ones((9, 9), bool), 0)
    scene, left = compose(np.random.default_rng(0), np.zeros((8, 8, 1), np.uint8), [large], 1.0)
    assert (len(scene.labels), left) == (0, 1)
    small = large._replace(pixels=large.pixels[:8, :8], opaque=large.opaque[:8, :8])
    scene, left = compose(np.random.default_rng(0), np.zeros((8, 8, 1), np.uint8), [small, small], 0.5)
    assert (len(scene.labels), left) == (1, 1)


def test_a_number_without_pixels_has_no_box():
    boxes, seen = boxes_of(np.array([[0, 2], [0, 2]], np.uint8), 3)
    assert boxes.tolist() == [[0, 0, 0, 0], [1, 0, 2, 2], [0, 0, 0, 0]] and seen.tolist() == [0, 2, 0]


@pytest.mark.skipif(module.available() is not None, reason=str(module.available()))
def test_scenes_are_drawn_from_their_seed_and_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = {"train": 6, "test": 3, "items": (2, 5), "overlap": 0.5}
    with pytest.warns(UserWarning, match="made in .* kept in"):
        first = module.scenes(**wanted)
    (file,) = tmp_path.rglob("*.npz")
    again = module.scenes(**wanted, size=(96, 96))  # read, or a warning would say that they were made
    other = pytest.warns(UserWarning, match="made in")
    with other:
        different = module.scenes(**wanted, seed=1)
    spec = first["train"].spec
    boxes, labels = named(spec.targets, "boxes"), named(spec.targets, "box_labels")
    batches = [found["train"].batch(np.arange(6)) for found in (first, again, different)]
    for name in spec.fields:
        np.testing.assert_array_equal(batches[0][name], batches[1][name])
    assert (batches[0]["image"] != batches[2]["image"]).any()
    real = batches[0][labels] >= 0
    assert ((batches[0][boxes][..., 2:] > batches[0][boxes][..., :2]).all(-1) == real).all()
    assert 2 * 6 <= real.sum() <= 5 * 6
    file.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="cannot be read"):
        healed = module.scenes(**wanted)
    np.testing.assert_array_equal(healed["train"].batch(np.arange(6))["image"], batches[0]["image"])


@pytest.mark.skipif(module.available() is not None, reason=str(module.available()))
@pytest.mark.filterwarnings("ignore:scenes:UserWarning")
def test_maps_say_of_each_pixel_what_the_boxes_say_of_the_items(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = {"train": 12, "test": 1, "items": (6, 9), "overlap": 0.9, "size": 64}
    items, kinds = (module.scenes(**wanted, targets=targets)["train"] for targets in ("instances", "class_map"))
    assert kinds.spec.classes == ("background", *items.spec.classes)
    found, other = items.batch(np.arange(12)), kinds.batch(np.arange(12))
    np.testing.assert_array_equal(found["image"], other["image"])
    hidden = 0
    for boxes, labels, numbers, map_ in zip(
        found["boxes"], found["objects"], found["instances"], other["class_map"], strict=True
    ):
        count = int((labels >= 0).sum())
        again, seen = boxes_of(numbers, len(boxes))
        np.testing.assert_array_equal(again, boxes)  # number n is of row n - 1
        assert (seen[:count] > 0).all() and not seen[count:].any()
        np.testing.assert_array_equal(np.append(0, labels + 1)[numbers], map_)
        hidden += 9 - count
    assert hidden > 0 and module.scenes(**wanted, targets="class_map")["train"].spec.notes == kinds.spec.notes
    with pytest.raises(ValueError, match="targets must be one of boxes, instances, class_map"):
        module.scenes(**wanted, targets="masks")


@pytest.mark.parametrize(
    "wrong", [{"size": (96, 64)}, {"items": (3, 2)}, {"items": (0, 0)}, {"train": 0}, {"scale": (0.0, 1.0)}]
)
def test_settings_that_compose_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="scenes: |a square"):
        module.scenes(**wrong)


def test_what_cannot_be_kept_is_made_each_time(tmp_path, monkeypatch):
    from cnn_jax.data.kept import kept_on_disk

    (tmp_path / "cnn_jax").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        with pytest.warns(UserWarning, match="not kept"):
            assert kept_on_disk("x", {}, lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]
