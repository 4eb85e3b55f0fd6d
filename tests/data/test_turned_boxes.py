"""Boxes of pictures that EXIF turns, or that have another size than their annotation says."""

import numpy as np
import pytest

from cnn_jax.data.annotated import turned
from cnn_jax.data.images import ORIENTATION, TURNS, upright
from cnn_jax.data.placement import placed, to_original
from cnn_jax.lookup import lookup
from tests.data.painted import coco_json, painted, seen


@pytest.mark.parametrize("turn", TURNS)
def test_boxes_turn_with_the_picture(tmp_path, turn):
    from PIL import Image

    painted(tmp_path / "a.png", (20, 30), [(3, 5, 11, 9)], turn)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.getexif()[ORIENTATION] == turn
        pixels = upright(picture)
    found = turned(np.array([[3.0, 5, 11, 9]]), turn, np.array([[20, 30]]))
    assert found[0].tolist() == seen(pixels).tolist()


@pytest.mark.parametrize(
    ("settings", "stored"), [("", True), (", turned='upright'", False), (", turned='stored'", True)]
)
def test_what_most_pictures_mean_decides_where_the_size_does_not_tell(tmp_path, settings, stored):
    for name, turn in (("a.png", 6), ("b.png", 8), ("c.png", 3)):
        painted(tmp_path / name, (20, 30), [(3, 5, 11, 9)], turn)
    coco_json(
        tmp_path / "s.json",
        dict.fromkeys(("a.png", "b.png", "c.png"), (20, 30)),
        [(n, 1, (3, 5, 8, 4)) for n in (1, 2, 3)],
    )
    source = lookup(f"coco('{tmp_path / 's.json'}', size=40{settings})")()["all"]
    batch = source.batch(np.arange(3))
    off = [np.abs(batch["boxes"][i, 0] - seen(batch["image"][i])).max() for i in range(3)]
    assert max(off[:2]) <= 1 and (off[2] <= 1) == stored, off


@pytest.mark.parametrize("how", ["scale", "keep"])
def test_another_size(tmp_path, how):
    painted(tmp_path / "a.png", (20, 30), [(4, 6, 10, 12)])
    said = (8, 12, 20, 24) if how == "scale" else (4, 6, 10, 12)
    coco_json(tmp_path / "s.json", {"a.png": (40, 60)}, [(1, 1, (*said[:2], said[2] - said[0], said[3] - said[1]))])
    source = lookup(f"coco('{tmp_path / 's.json'}', size=32, wrong_size='{how}')")()["all"]
    batch = source.batch(np.arange(1))
    back = to_original(batch["boxes"][0, 0], placed(batch["placement"][0], (32, 32)))
    np.testing.assert_allclose(back, (4, 6, 10, 12), atol=1e-4)
    assert batch["areas"][0, 0] == 36
    assert any("1 pictures have another size than their annotation says" in note for note in source.spec.notes)
