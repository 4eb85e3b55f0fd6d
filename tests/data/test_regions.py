"""COCO's polygons and runs are the pixels that pycocotools makes of them, and maps show them where the pictures do."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference

from cnn_jax.data.annotated import turned_map
from cnn_jax.data.coco import coco
from cnn_jax.data.images import ORIENTATION, TURNS
from cnn_jax.data.regions import LONGEST, Runs, inside, read_region
from cnn_jax.data.scoring import scored
from cnn_jax.data.source import made
from cnn_jax.data.spec import BACKGROUND, IGNORED
from tests.data.painted import coco_json

PLACES = {
    "within": lambda draw, k, size: draw.uniform(0, 1, (k, 2)) * size,
    "beyond": lambda draw, k, size: draw.uniform(-0.4, 1.4, (k, 2)) * size,
    "whole": lambda draw, k, size: draw.integers(0, size + 1, (k, 2)).astype(float),
    "halves": lambda draw, k, size: draw.integers(-2, 2 * size + 2, (k, 2)) / 2,
    "twice": lambda draw, k, size: np.repeat(draw.uniform(0, 1, (k, 2)) * size, 2, 0),
}


@pytest.mark.parametrize("place", PLACES)
def test_polygons_are_drawn_as_by_pycocotools(place):
    draw = np.random.default_rng(0)
    for _ in range(40):
        height, width = draw.integers(1, 50, 2).tolist()
        count = int(draw.integers(1, 4))
        polygons = [PLACES[place](draw, int(draw.integers(3, 15)), np.array([width, height])) for _ in range(count)]
        flat = [points.ravel().tolist() for points in polygons]
        coded = reference.frPyObjects(flat, height, width)
        expected = reference.decode(coded).any(-1)
        np.testing.assert_array_equal(inside(read_region(flat), (height, width)), expected)
        merged = reference.merge(coded)
        text = {"size": [height, width], "counts": merged["counts"].decode()}
        runs = read_region(text)
        assert isinstance(runs, Runs)
        np.testing.assert_array_equal(inside(runs, (height, width)), expected)
        again = read_region({"size": [height, width], "counts": runs.counts.tolist()})
        np.testing.assert_array_equal(inside(again, (height, width)), expected)


def test_long_runs_are_read_as_by_pycocotools():
    for pixels in (1, 15, 16, 500, 40_000, 70_000):
        mask = np.zeros((300, 400), np.uint8, order="F")
        mask.T.ravel()[pixels : 2 * pixels] = 1
        mask[7, 3::50] = 1
        coded = reference.encode(mask)
        runs = read_region({"size": [300, 400], "counts": coded["counts"].decode()})
        np.testing.assert_array_equal(inside(runs, (300, 400)), mask)
    with pytest.raises(ValueError, match="not those of one"):
        inside(runs, (400, 300))


SQUARE = [0, 0, 4, 0, 4, 4, 0, 4]
# What "segmentation" may be, and what is said of it.
FAULTS = {
    "none": (None, "are missing"),
    "no polygons": ([], "are missing"),
    "a text": ("0 0 4 0 4 4", "are neither a list of polygons nor counts and size"),
    "a flat list": (SQUARE, "are neither"),
    "an odd number": ([SQUARE[:-1]], "a polygon of an odd number of coordinates"),
    "two points": ([SQUARE, [0, 0, 4, 4]], "a polygon of fewer than three points"),
    "no points": ([[]], "a polygon of fewer than three points"),
    "texts": ([["0"] * 6], "a polygon with what is no number"),
    "nan": ([[*SQUARE[:-1], float("nan")]], "numbers that are not finite"),
    "huge": ([[*SQUARE[:-1], 10**400]], "numbers that are not finite"),
    "far": ([[*SQUARE[:-1], 2 * LONGEST]], "longer than 262,144 pixels or as far away"),
    "long": ([[0, 0, 0, 1e5] * 3], "longer than 262,144 pixels"),
    "no size": ({"counts": [8, 8]}, "are counts without a size"),
    "a size of floats": ({"counts": [16], "size": [4.5, 4]}, "are counts without a size"),
    "counts that are none": ({"counts": {}, "size": [4, 4]}, "neither a text nor whole numbers from 0"),
    "counts below 0": ({"counts": [20, -4], "size": [4, 4]}, "neither a text nor whole numbers from 0"),
    "counts of floats": ({"counts": [8.0, 8.0], "size": [4, 4]}, "neither a text nor whole"),
    "too few": ({"counts": [8, 7], "size": [4, 4]}, "do not add up to their size"),
    "too many": ({"counts": [2**61] * 8, "size": [4, 4]}, "do not add up to their size"),
    "no counts": ({"counts": [], "size": [4, 4]}, "do not add up"),
    "another text": ({"counts": "ä", "size": [4, 4]}, "no text of COCO's"),
    "an empty text": ({"counts": "", "size": [4, 4]}, "no text of COCO's"),
    "a text cut off": ({"counts": "P", "size": [4, 4]}, "no text of COCO's"),
    "a long text": ({"counts": "o" * 30 + "0", "size": [4, 4]}, "no text of COCO's"),
    "a text below 0": ({"counts": "d0L", "size": [4, 4]}, "do not add up"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_region_is_said_in_words(fault):
    value, says = FAULTS[fault]
    with pytest.raises(ValueError, match=says) as caught:
        read_region(value)
    assert "\n" not in str(caught.value)


def around(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def bright(path: Path, mask: np.ndarray, turn: int = 0) -> None:
    exif = Image.Exif()
    if turn:
        exif[ORIENTATION] = turn
    Image.fromarray(np.where(mask, 220, 30).astype(np.uint8)).save(path, exif=exif)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A picture with a dog, a cat on it, a crowd of dogs, and a cat that nothing encloses; and one of another shape."""
    boxes = {1: (4, 4, 16, 12), 2: (8, 6, 4, 4), 3: (24, 0, 8, 20), 4: (34, 12, 6, 8)}
    content = coco_json(
        tmp_path / "set.json",
        {"a.png": (20, 40), "b.png": (40, 20)},
        [(1, 7, boxes[1]), (1, 1, boxes[2]), (1, 7, boxes[3]), (1, 1, boxes[4]), (2, 7, (0, 0, 20, 10))],
    )
    dog, cat, crowd, _, other = content["annotations"]
    dog["segmentation"] = [*around(4, 4, 12, 16), *around(11, 4, 20, 16)]
    cat["segmentation"] = around(8, 6, 12, 10)
    mask = np.zeros((20, 40), np.uint8, order="F")
    mask[:, 24:32] = mask[5:8, 8:10] = 1  # over the cat too, which lies on it
    coded = reference.encode(mask)
    crowd |= {"iscrowd": 1, "segmentation": {"size": [20, 40], "counts": coded["counts"].decode()}}
    other["segmentation"] = around(0, 0, 20, 10)
    (tmp_path / "set.json").write_text(json.dumps(content))
    seen = np.zeros((20, 40), bool)
    seen[4:16, 4:20] = seen[:, 24:32] = True
    bright(tmp_path / "a.png", seen)
    bright(tmp_path / "b.png", np.arange(40)[:, None].repeat(20, 1) < 10)
    return tmp_path / "set.json"


def test_maps_of_objects_and_of_classes(scene):
    expected = np.zeros((20, 40), int)
    expected[:, 24:32], expected[12:20, 34:40] = 3, 4
    expected[4:16, 4:20] = 1
    expected[6:10, 8:12] = 2
    source = coco(str(scene), targets="instances", size=(20, 40))["all"]
    batch = source.batch(np.arange(2))
    assert batch["instances"].dtype == np.uint8 == np.dtype(source.spec.fields["instances"].dtype)
    np.testing.assert_array_equal(batch["instances"][0], expected)
    assert batch["ignored"].tolist() == [[0, 0, 2, 1], [0, 0, 0, 0]] and batch["objects"][0].tolist() == [1, 0, 1, 0]
    # In a letterbox of another shape the map is where the picture is bright, half as large.
    assert (batch["instances"][1] > 0).sum() == 10 * 5 and (batch["image"][1, 1:4, 16:24] > 150).all()
    assert (batch["instances"][1, :5, 15:25] == 1).all()
    known = source.known(1)
    assert "instances" not in known and all(np.array_equal(known[name], batch[name][1]) for name in known)
    notes = " ".join(source.spec.notes)
    assert "1 segmentations are missing: the boxes of their objects are ignored, as annotation 4 of image 1" in notes
    assert (
        "16 of 392 pixels of objects looked at are of several, of which the smallest has them, as in image 1" in notes
    )

    maps = coco(str(scene), targets="class_map", size=(20, 40))["all"]
    assert maps.spec.classes == (BACKGROUND, "cat", "dog") and maps.spec.class_ids == ()
    found = maps.batch(np.arange(2))["class_map"]
    np.testing.assert_array_equal(found[0], np.array([0, 2, 1, IGNORED, IGNORED])[expected])
    assert (found[1][:, :15] == IGNORED).all() and (found[1][:, 25:] == IGNORED).all()  # beside the picture
    assert (found[1, :5, 15:25] == 2).all() and not found[1, 5:, 15:25].any()
    np.testing.assert_array_equal(maps.known(1)["class_map"], found[1])
    # Data to be scored on is read for the targets of the run.
    for spec in (source.spec, maps.spec):
        assert scored(partial(coco, str(scene)), "all", spec).spec.targets == spec.targets


def test_faults_of_segmentations(scene):
    with pytest.raises(
        ValueError, match=r"the segmentation of annotation 4 of image 1, set.json is missing: faulty='s"
    ):
        coco(str(scene), targets="instances", faulty="error")
    assert "instances" not in coco(str(scene), faulty="error")["all"].spec.fields  # which needs none
    with pytest.raises(ValueError, match="targets must be one of boxes, instances, class_map, not 'masks'"):
        coco(str(scene), targets="masks")
    content = json.loads(scene.read_text())
    content["annotations"][2]["segmentation"]["size"] = [40, 20]
    scene.write_text(json.dumps(content))
    source = coco(str(scene), targets="instances", size=(20, 40))["all"]
    assert any("1 segmentations have a size that is not that of their picture" in note for note in source.spec.notes)
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[0, 0]]
    scene.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not one of 5 objects has pixels of its own, as annotation 1 .* three points"):
        coco(str(scene), targets="instances")


def test_a_class_map_has_room_for_so_many_classes(tmp_path):
    names = {number: f"class {number}" for number in range(1, 256)}
    bright(tmp_path / "a.png", np.zeros((4, 4), bool))
    coco_json(tmp_path / "set.json", {"a.png": (4, 4)}, [(1, 1, (0, 0, 2, 2))], names)
    with pytest.raises(ValueError, match="a class_map has at most 254 classes beside the background: 255"):
        coco(str(tmp_path / "set.json"), targets="class_map")


@pytest.mark.parametrize("turn", TURNS)
def test_maps_are_turned_with_their_pictures(tmp_path, turn):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(turned_map(values, turn), Image.fromarray(values).transpose(TURNS[turn]))
    stored = np.zeros((16, 24), bool)
    stored[2:9, 3:20] = stored[2:14, 3:6] = True
    bright(tmp_path / "a.png", stored, turn)
    region = [*around(3, 2, 20, 9), *around(3, 2, 6, 14)]
    content = coco_json(tmp_path / "set.json", {"a.png": (16, 24)}, [(1, 1, (3, 2, 17, 12))])
    content["annotations"][0]["segmentation"] = region
    (tmp_path / "set.json").write_text(json.dumps(content))
    source = made(partial(coco, str(tmp_path / "set.json"), targets="instances", size=24, turned="stored"))["all"]
    batch = source.batch(np.arange(1))
    np.testing.assert_array_equal(batch["instances"][0] == 1, (batch["image"][0, ..., 0] > 125) & bars(batch))


def bars(batch) -> np.ndarray:
    """Where the picture is, which is beside white bars."""
    height, width = batch["placement"][0, 4:].astype(int)
    place = np.zeros((24, 24), bool)
    top, left = (24 - height) // 2, (24 - width) // 2
    place[top : top + height, left : left + width] = True
    return place


def test_maps_of_pictures_that_were_made_smaller(tmp_path):
    bright(tmp_path / "a.png", np.arange(40)[None] < 20 + 0 * np.arange(20)[:, None])
    content = coco_json(tmp_path / "set.json", {"a.png": (40, 80)}, [(1, 1, (0, 0, 40, 40)), (1, 7, (60, 0, 9, 9))])
    content["annotations"][0]["segmentation"] = {"size": [40, 80], "counts": [0, 1600, 1600]}
    (tmp_path / "set.json").write_text(json.dumps(content))
    source = coco(str(tmp_path / "set.json"), targets="instances", size=(20, 40), wrong_size="scale")["all"]
    found = source.batch(np.arange(1))["instances"][0]
    expected = np.zeros((20, 40), int)
    expected[:, :20], expected[:4, 30:34] = 1, 2  # the second has its box alone, 4.5 pixels wide
    np.testing.assert_array_equal(found, expected)
