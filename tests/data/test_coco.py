"""COCO's JSON: boxes lie where the objects are painted, ids keep their classes, splits are found."""

import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data.batches import evaluation_batches
from cnn_jax.data.coco import coco, split_in
from cnn_jax.data.files import read_example
from cnn_jax.data.placement import placed, to_original
from cnn_jax.data.scoring import scored
from cnn_jax.data.source import buckets, in_memory, made, opened
from cnn_jax.data.spec import from_json, to_json
from tests.data.painted import coco_json, painted, seen

BOXES = [(4, 6, 24, 16), (30, 2, 38, 18)]
SIZES = {"a.png": (20, 40), "deep/b.png": (50, 30), "c.png": (24, 24)}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Three pictures of differing shapes; the second has a crowd, the third nothing."""
    painted(tmp_path / "a.png", SIZES["a.png"], BOXES)
    painted(tmp_path / "deep/b.png", SIZES["deep/b.png"], [(0, 40, 30, 50)])
    painted(tmp_path / "c.png", SIZES["c.png"], [])
    file = tmp_path / "set.json"
    content = coco_json(file, SIZES, [(1, 7, (4, 6, 20, 10)), (1, 1, (30, 2, 8, 16)), (2, 7, (0, 40, 30, 10))])
    content["annotations"][0]["area"] = 123.5
    content["annotations"][2]["iscrowd"] = 1
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("settings", [{"size": 64}, {"size": (48, 96)}, {"size": 40, "resize": "stretch"}])
def test_boxes_lie_where_the_objects_are(scene, settings):
    source = coco(str(scene), **settings)["all"]
    batch = source.batch(np.arange(3))
    assert [batch[name].dtype.name for name in ("boxes", "objects", "ignored", "areas")] == [
        "float32", "int32", "uint8", "float32"]  # fmt: skip
    assert batch["objects"].tolist() == [[1, 0], [1, -1], [-1, -1]]
    assert batch["ignored"].tolist() == [[0, 0], [2, 0], [0, 0]]
    assert batch["areas"].tolist() == [[123.5, 128], [300, 0], [0, 0]]
    assert not batch["boxes"][1, 1].any() and not batch["boxes"][2].any()
    for picture, number in ((0, 0), (0, 1), (1, 0)):
        assert np.abs(batch["boxes"][picture, number] - seen(batch["image"][picture], number)).max() <= 1.01
    for picture, expected in ((0, BOXES), (1, [(0, 40, 30, 50)])):
        where = placed(batch["placement"][picture], source.spec.prepare.size)
        assert where.original == list(SIZES.values())[picture]
        back = to_original(batch["boxes"][picture][: len(expected)], where)
        np.testing.assert_allclose(back, expected, atol=1e-4)
    known = source.known(0)  # without decoding
    assert all(np.array_equal(known[name], batch[name][0]) for name in known)


def test_each_picture_has_the_size_that_it_fills_best(scene):
    content = json.loads(scene.read_text())
    damaged = (scene.parent / "deep/b.png").read_bytes()[:60]  # of which the head can be read
    (scene.parent / "d.png").write_bytes(damaged)
    content["images"].insert(0, {"id": 9, "file_name": "d.png", "height": 50, "width": 30})
    scene.write_text(json.dumps(content))
    sizes = ((32, 64), (64, 32), (48, 48))
    source = coco(str(scene), size=sizes)["all"]
    assert source.spec.input.shape == (32, 64, 3) and buckets(source).tolist() == [0, 1, 2]  # without the damaged
    assert in_memory(source) is source
    for place, size in enumerate(sizes):
        batch = source.batch(np.array([place]))
        assert batch["image"].shape == (1, *size, 3)
        known = source.known(place)
        assert all(np.array_equal(known[name], batch[name][0]) for name in known)
        again, placement = read_example(scene.parent / list(SIZES)[place], source.spec)
        np.testing.assert_array_equal(again, batch["image"][0])
        assert placement.size == size
        if place < 2:
            assert np.abs(batch["boxes"][0, 0] - seen(batch["image"][0])).max() <= 1
    every = list(evaluation_batches(source, 2))
    assert [batch["image"].shape[1:3] for batch in every] == list(sizes)
    assert from_json(json.loads(json.dumps(to_json(source.spec)))) == source.spec
    joined = scored(partial(coco, str(scene)), "all", source.spec)
    assert joined.spec.shapes == source.spec.shapes
    with pytest.raises(ValueError, match="several sizes are for resize='letterbox'"):
        coco(str(scene), size=sizes, resize="stretch")


def test_classes_keep_their_ids_and_pictures_their_names(scene):
    source = coco(str(scene), size=32)["all"]
    assert source.spec.classes == ("cat", "dog") and source.spec.class_ids == (1, 7)
    assert source.files(np.array([1])) == ["image 2 (deep/b.png)"]
    assert source.spec.notes == ()


def test_examples_of_floats_and_sizes_that_batches_cannot_have(scene):
    source = coco(str(scene), size=32, resize="stretch", interpolation="sampled")["all"]
    image = source.batch(np.arange(1))["image"][0]
    assert image.dtype == np.float32 == np.dtype(source.spec.input.dtype) and 0.5 < image.max() <= 1
    np.testing.assert_array_equal(read_example(scene.parent / "a.png", source.spec)[0], image)
    for resize in ("crop", "short_side"):
        with pytest.raises(ValueError, match=f"resize='{resize}' .*: choose 'letterbox'"):
            coco(str(scene), resize=resize)


SPLIT_FILES = {
    "as COCO": ("annotations/instances_train2017.json", "annotations/instances_val2017.json", "{}2017"),
    "as Roboflow": ("train/_annotations.coco.json", "valid/_annotations.coco.json", "{}"),
    "side by side": ("train.json", "test.json", "images"),
}


@pytest.mark.parametrize("kind", SPLIT_FILES)
def test_splits(tmp_path, kind):
    one, other, folder = SPLIT_FILES[kind]
    for file in (one, other):
        word = file.split("/")[0] if kind == "as Roboflow" else file.rpartition("_")[2].removesuffix("2017.json")
        painted(tmp_path / folder.format(word) / f"{word[:2]}.png", (10, 20), [(0, 0, 9, 9)])
        coco_json(tmp_path / file, {f"{word[:2]}.png": (10, 20)}, [(1, 1, (0, 0, 9, 9)), (1, 7, (0, 0, 2, 2))])
    if kind == "as COCO":
        (tmp_path / "annotations/captions_train2017.json").write_text("{}")
    splits = made(partial(coco, str(tmp_path), size=16))
    assert list(splits) == ["train", "validation" if "val" in other else "test"]
    assert len(splits["train"]) == 1
    notes = splits["train"].spec.notes
    assert len(notes) == 1 + (kind == "as COCO") and "images are in more than one split" in notes[-1]
    assert split_in("restrain") == "" and split_in("my-VALID_3") == "validation"


def test_a_carved_split_has_its_share_of_the_rare_class(tmp_path):
    names = {f"{number}.png": (8, 8) for number in range(20)}
    for name in names:
        painted(tmp_path / name, (8, 8), [(0, 0, 4, 4)])
    every = [(image, 1, (0, 0, 4, 4)) for image in range(1, 21)]
    coco_json(tmp_path / "set.json", names, [*every, *((image, 7, (0, 0, 4, 4)) for image in (3, 4, 5, 6, 9))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = opened(partial(coco, str(tmp_path / "set.json"), size=8))
    rare = {
        split: int((source.batch(np.arange(len(source)))["objects"] == 1).sum()) for split, source in splits.items()
    }
    assert rare == {"train": 4, "test": 1} and len(splits["test"]) == 4
