"""VOC's XML and YOLO's text files: what their numbers mean, and where splits are found."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data.placement import placed, to_original
from cnn_jax.data.scoring import scored
from cnn_jax.data.source import made
from cnn_jax.data.voc import voc
from cnn_jax.data.yolo import yolo
from tests.data.painted import painted, seen


def annotated(picture: Path, xml: Path, *objects: tuple[str, int, tuple[int, int, int, int]]) -> None:
    """A picture [12, 20] with boxes (name, difficult, left, top, right, bottom), and its XML, counted from 1."""
    painted(picture, (12, 20), [box for _, _, box in objects])
    found = "".join(
        f"<object><name>{name}</name><part><name>ear</name></part><difficult>{difficult}</difficult><bndbox>"
        f"<ymin>{top + 1}</ymin><xmin>{left + 1}</xmin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, difficult, (left, top, right, bottom) in objects
    )
    xml.parent.mkdir(parents=True, exist_ok=True)
    size = "<size><width>20</width><height>12</height></size>"
    xml.write_text(f"<annotation><filename>{picture.name}</filename>{size}{found}</annotation>")


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """VOC's folders with five pictures, in lists as VOC has them."""
    for number in range(5):
        name = f"00000{number}"
        objects = [("dog", 0, (3, 2, 9, 8)), ("cat", int(number == 0), (10, 1, 20, 12))][: 1 + (number < 3)]
        annotated(tmp_path / f"JPEGImages/{name}.png", tmp_path / f"Annotations/{name}.xml", *objects)
    lists = tmp_path / "ImageSets/Main"
    lists.mkdir(parents=True)
    for name, numbers in {"train": (0, 1), "val": (2,), "trainval": (0, 1, 2), "test": (3, 9)}.items():
        (lists / f"{name}.txt").write_text("".join(f"00000{number}\n" for number in numbers))
        (lists / f"cat_{name}.txt").write_text("".join(f"00000{number} -1\n" for number in numbers))
    return tmp_path


def test_voc(devkit):
    splits = made(partial(voc, str(devkit), size=40))
    assert {split: len(source) for split, source in splits.items()} == {"train": 2, "validation": 1, "test": 1}
    train = splits["train"]
    assert train.spec.classes == ("cat", "dog") and train.files(np.array([1])) == ["JPEGImages/000001.png"]
    batch = train.batch(np.arange(2))
    assert batch["objects"].tolist() == [[1, 0], [1, 0]] and batch["ignored"].tolist() == [[0, 1], [0, 0]]
    np.testing.assert_array_equal(batch["areas"][0], [36, 110])
    for row, number in ((0, 0), (0, 1), (1, 1)):
        assert np.abs(batch["boxes"][row, number] - seen(batch["image"][row], number)).max() <= 1
    back = to_original(batch["boxes"][0], placed(batch["placement"][0], (40, 40)))
    np.testing.assert_allclose(back, [(3, 2, 9, 8), (10, 1, 20, 12)], atol=1e-5)
    notes = [note.removeprefix(f"voc:{devkit}: ") for note in train.spec.notes]
    assert notes[:2] == [
        "1 pictures that are listed have no annotation and are left out, as 000009 of test.txt",
        "1 annotations are in no list of a split and are left out, as 000004.xml",
    ]


def test_trainval_is_train_where_that_is_not_there(devkit):
    (devkit / "ImageSets/Main/train.txt").unlink()
    (devkit / "ImageSets/Main/val.txt").unlink()
    splits = made(partial(voc, str(devkit), size=8))
    assert {split: len(source) for split, source in splits.items()} == {"train": 3, "test": 1}


def test_the_first_pixel_may_be_0(devkit):
    splits = made(partial(voc, str(devkit), size=20, origin=0))
    np.testing.assert_allclose(splits["train"].batch(np.arange(1))["boxes"][0, 0], (4, 7, 9, 12))


def test_pictures_beside_their_xml_and_another_set_to_be_scored(devkit, tmp_path):
    spec = made(partial(voc, str(devkit), size=24))["train"].spec
    folder = tmp_path / "later"
    for split in ("train", "valid"):
        annotated(folder / split / "a.png", folder / split / "a.xml", *[("cat", 0, (3, 2, 9, 8))] * 5)
        painted(folder / split / "b.png", (12, 20), [])
    splits = made(partial(voc, str(folder), size=24))
    assert list(splits) == ["train", "validation"] and splits["train"].spec.classes == ("cat",)
    assert "2 pictures without an .xml file are left out, as train/b.png" in splits["train"].spec.notes[0]
    source = scored(partial(voc, str(folder)), "validation", spec)  # with other counts of objects, and fewer classes
    assert source.spec.classes == ("cat", "dog") and len(source) == 1
    assert source.batch(np.arange(1))["image"].shape == (1, 24, 24, 3)
    annotated(folder / "valid/c.png", folder / "valid/c.xml", ("cow", 0, (3, 2, 9, 8)))
    with pytest.raises(ValueError, match=r"valid/c.xml has an object 'cow', which is none of the classes cat, dog"):
        scored(partial(voc, str(folder)), "validation", spec)


YAML = "path: /elsewhere\nnames:\n  0: cat\n  1: dog\n"
LAYOUTS = {
    "splits below images": ("images/{}/a.png", "labels/{}/a.txt", YAML),
    "splits above images": (
        "{}/images/a.png",
        "{}/labels/a.txt",
        f"{YAML}train: ../train/images\nval: ../val/images\n",
    ),
    "other names": ("images/my{}/a.png", "labels/my{}/a.txt", f"{YAML}train: images/mytrain\nval: images/myval\n"),
    "text beside pictures": ("{}/a.png", "{}/a.txt", YAML),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_yolo(tmp_path, layout):
    picture, text, description = LAYOUTS[layout]
    boxes = {"train": [(3, 2, 9, 8), (10, 1, 20, 12)], "val": [(0, 0, 20, 12)]}
    for split, found in boxes.items():
        painted(tmp_path / picture.format(split), (12, 20), found)
        file = tmp_path / text.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [(1, (x0 + x1) / 40, (y0 + y1) / 24, (x1 - x0) / 20, (y1 - y0) / 12) for x0, y0, x1, y1 in found]
        file.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    (tmp_path / "data.yaml").write_text(description)
    for path in (tmp_path, tmp_path / "data.yaml"):
        splits = made(partial(yolo, str(path), size=40))
        assert list(splits) == ["train", "validation"] and splits["train"].spec.classes == ("cat", "dog")
    batch = splits["train"].batch(np.arange(1))
    back = to_original(batch["boxes"][0], placed(batch["placement"][0], (40, 40)))
    np.testing.assert_allclose(back, boxes["train"], atol=1e-4)
    assert all(np.abs(batch["boxes"][0, n] - seen(batch["image"][0], n)).max() <= 1 for n in (0, 1))
    np.testing.assert_allclose(batch["areas"][0], [36, 110], rtol=1e-5)
    assert batch["objects"].tolist() == [[1, 1]]
    assert [note.partition(": ")[2] for note in splits["train"].spec.notes] == [
        "1 of 2 classes have no object to learn from, as 'cat'"
    ]
