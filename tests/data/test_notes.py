"""Nothing is left out, changed or guessed in silence: each is a note of the spec, warned of once, kept in data.json."""

import importlib
import json
import os
import pkgutil
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_jax.data
from cnn_jax.data import source as source_module
from cnn_jax.data.source import opened
from cnn_jax.data.spec import from_json, to_json
from cnn_jax.lookup import lookup

DRAW = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def unsaid(monkeypatch):
    """As in a new process, where nothing was said yet."""
    monkeypatch.setattr(source_module, "_SAID", set())


def said(text: str, validation: float = 0.0, **settings: object) -> list[str]:
    """What opening a source warns of, without its name; it is what its train split notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        splits = opened(partial(lookup(text), **settings), validation=validation)
        opened(partial(lookup(text), **settings), validation=validation)  # nothing is said twice
    lines = [str(warning.message) for warning in caught]
    spec = splits["train"].spec
    assert set(lines) <= set(spec.notes) and len(set(lines)) == len(lines)
    assert all(line.startswith(f"{spec.name}: ") and "\n" not in line for line in lines)
    assert from_json(json.loads(json.dumps(to_json(spec)))) == spec
    return [line.removeprefix(f"{spec.name}: ") for line in lines]


def picture(path: Path, mode: str = "RGB", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(DRAW.integers(0, 256, (6, 5, 4), np.uint8), "RGBA").convert(mode).save(path, **options)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four pictures in each of train and test."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(4):
                picture(tmp_path / "photos" / split / name / f"{number}.png")
    return tmp_path / "photos"


def deep(path: Path, greatest: int) -> None:
    Image.fromarray(np.linspace(0, greatest, 30).reshape(6, 5).astype(np.uint16)).save(path)


def copied(old: Path, new: Path) -> None:
    new.write_bytes(old.read_bytes())


def animated(path: Path) -> None:
    frames = [Image.fromarray(DRAW.integers(0, 256, (6, 5), np.uint8)) for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def deep_colour(path: Path) -> None:
    """A black PNG with 16 bits for each of three channels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0))
    rows = zlib.compress((b"\0" + bytes(30)) * 6)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another file": (
        lambda p: [(p / "train/cat" / name).write_text("") for name in ("a.txt", "b.csv")],
        "left out 2 files whose names do not end as a picture's, as train/cat/a.txt",
    ),
    "a hidden picture": (
        lambda p: picture(p / "train/cat/._0.png"),
        "left out 1 hidden files and folders, as train/cat/._0.png",
    ),
    "a broken link": (
        lambda p: (p / "train/cat/x.png").symlink_to("nowhere"),
        "left out 1 broken links and other things that are no files, as train/cat/x.png",
    ),
    "a loop": (
        lambda p: (p / "train/cat/up").symlink_to(".."),
        "left out 1 folders that links lead to a second time, as train/cat/up",
    ),
    "a folder beside": (
        lambda p: picture(p / "extra/cat/1.png"),
        "left out 1 folders beside the splits, as extra",
    ),
    "another name for a split": (
        lambda p: [picture(p / split / name / "1.png") for split in ("val", "Valid") for name in ("cat", "dog")],
        "left out 1 folders beside the splits, as val",
    ),
    "a picture beside the classes": (
        lambda p: picture(p / "train/1.png"),
        "left out 1 files beside the class folders, as train/1.png",
    ),
    "unlabelled": (
        lambda p: picture(p / "testing/1.png"),
        "left out 1 folders that are named like splits but hold no class folders, as testing",
    ),
    "a copy in test": (
        lambda p: copied(p / "train/cat/0.png", p / "test/cat/9.png"),
        "1 images are in more than one split, as train/cat/0.png and test/cat/9.png",
    ),
    "a copy in another class": (
        lambda p: copied(p / "train/cat/0.png", p / "train/dog/9.png"),
        "1 images are in more than one class, as train/cat/0.png and train/dog/9.png",
    ),
    "grey": (lambda p: picture(p / "train/cat/0.png", "L"), "1 of 8 images looked at are grey and read as colour"),
    "transparent": (lambda p: picture(p / "train/cat/0.png", "RGBA"), "1 of 8 images looked at have an alpha channel"),
    "CMYK": (lambda p: picture(p / "train/cat/a.jpg", "CMYK"), "1 of 9 images looked at are of another colour space"),
    "animated": (lambda p: animated(p / "train/cat/a.gif"), "1 of 9 images looked at hold several pictures"),
    "deep colour": (lambda p: deep_colour(p / "train/cat/a.png"), "1 of 9 images looked at have 16 bits for each"),
    "12 of 16 bits": (
        lambda p: deep(p / "train/cat/a.png", 3000),
        "1 of 9 images looked at have 16 bits and do not say which value is white",
    ),
    "corrupt": (
        lambda p: (p / "test/dog/0.png").write_bytes(b""),
        "1 of 16 images looked at cannot be decoded and are left out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(photos: Path, case: str) -> None:
    assert said(f"folder:{photos}") == []  # but for what was done to them there is nothing to say
    build, expected = FOLDERS[case]
    build(photos)
    lines = said(f"folder:{photos}")
    assert [line for line in lines if line.startswith(expected)], lines


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    good = {
        "train_images": DRAW.integers(0, 256, (20, 4, 5, 3), np.uint8),
        "train_labels": np.arange(20) % 3,
        "test_images": DRAW.integers(0, 256, (6, 4, 5, 3), np.uint8),
        "test_labels": np.arange(6) % 3,
        "classes": np.array(["ant", "bee", "cow"]),
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


ARRAYS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "another array": (arrays(weights=np.ones(3)), "left out 1 arrays, as weights"),
    "no names": (arrays(classes=None), "no array 'classes' names the classes: they are numbered 0 to 2"),
    "labels [N, 1]": (arrays(test_labels=np.arange(6)[:, None] % 3), "test_labels [6, 1] is read as [6]"),
    "float64": (
        arrays(train_images=DRAW.random((20, 4, 5, 3)), test_images=DRAW.random((6, 4, 5, 3)).astype(np.float32)),
        "train_images of float64 is read as float32",
    ),
    "another range": (
        {k: (v * 0.01).astype(np.float32) - 1 if "images" in k else v for k, v in arrays().items()},
        "float images go from -1 to 1.55",
    ),
    "few bits": (
        {k: v // 16 if "images" in k else v for k, v in arrays().items()},
        "images of bytes go up to 15 only",
    ),
    "copies": (
        arrays(test_images=(copies := DRAW.integers(0, 256, (20, 4, 5, 3), np.uint8))[:6], train_images=copies),
        "6 images are in more than one split, as train 0 and test 0",
    ),
    "labels from 1": (
        arrays(train_labels=np.arange(20) % 2 + 1, test_labels=np.ones(6, int), classes=None),
        "1 of 3 classes have no training example, as '0': if labels begin at 1, subtract 1",
    ),
    "an empty class": (
        arrays(train_labels=np.arange(20) % 2), "1 of 3 classes have no training example, as 'cow'"
    ),
    "a constant channel": (
        arrays(train_images=DRAW.integers(0, 256, (20, 4, 5, 3), np.uint8) * np.array([1, 0, 1], np.uint8)),
        "1 of 3 channels have one value in all of train, as channel 1",
    ),
    "no splits": (
        {"images": arrays()["train_images"], "labels": np.arange(20) % 3, "classes": np.array(["a", "b", "c"])},
        "it has no splits: 3 of 20 examples, 20% of each class (at least one), are carved out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(tmp_path: Path, case: str) -> None:
    np.savez(tmp_path / "good.npz", **arrays())
    assert said(f"npz:{tmp_path / 'good.npz'}") == []
    stored, expected = ARRAYS[case]
    np.savez(tmp_path / "set.npz", **stored)
    lines = said(f"npz:{tmp_path / 'set.npz'}")
    assert [line for line in lines if line.startswith(expected)], lines


def test_prepared_sets(tmp_path: Path, prepare_set: Callable) -> None:
    from tensorflow_datasets import features

    kinds = {
        "image": features.Image(shape=(6, 7, 3), encoding_format="png"),
        "label": features.ClassLabel(names=["cat", "dog"]),
        "id": features.Text(),
    }

    def rows(count: int) -> list:
        pixels = DRAW.integers(0, 256, (count, 6, 7, 3), np.uint8)
        return [(i, {"image": Image.fromarray(pixels[i]), "label": i % 2, "id": str(i)}) for i in range(count)]

    prepare_set(tmp_path, "toy", "1.0.0", kinds, {"train": rows(8), "dev": rows(2), "test": rows(2), "extra": rows(2)})
    text = f"tfds:{tmp_path / 'toy'}"
    assert said(text) == ["left out 1 splits, as extra", "left out 1 features, as id"]
    assert opened(lookup(text)).keys() == {"train", "validation", "test"}


def test_what_was_carved_stands_in_the_notes_and_is_no_warning() -> None:
    assert said("digits", validation=0.1) == []
    train = opened(lookup("digits"), validation=0.1)["train"]
    assert train.spec.notes == (
        "digits: the validation split is 90 of 898 training examples, of each class alike, as data.validation = 0.1 "
        "says",
    )


def test_a_class_that_carving_empties_is_said(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / "few" / f"class{number}" / "a.png")
        picture(tmp_path / "few" / f"class{number}" / "b.png")
    lines = said(f"folder:{tmp_path / 'few'}", validation=0.1)
    assert lines[1].startswith("1 of 10 classes have no training example, as 'class")
    picture(tmp_path / "few" / "class3" / "c.png")
    assert len(said(f"folder:{tmp_path / 'few'}", validation=0.1)) == 1  # there is one that can be spared


def test_every_source_of_ones_own_data_is_here() -> None:
    names = {module.name for module in pkgutil.iter_modules(cnn_jax.data.__path__)}
    modules = {name: importlib.import_module(f"cnn_jax.data.{name}") for name in names}
    own = {n for n, m in modules.items() if callable(getattr(m, n, None)) and not hasattr(m, "available")}
    elsewhere = {"coco", "voc", "yolo", "masks", "csv", "wav"}  # test_annotations, test_masks, test_text, test_sound
    assert own - elsewhere == {"folder", "npz", "tfds"}


def test_names_that_are_no_text_are_shown_escaped(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in (b"caf\xe9", b"th\xe9\x1b"):
            folder = tmp_path / split / os.fsdecode(name)
            picture(folder / os.fsdecode(b"1\xff.png"))
            picture(folder / "2.png")
            (folder / os.fsdecode(b"\xfe.txt")).write_text("")
    text = f"folder:{tmp_path}"
    lines = said(text)
    assert lines == [r"left out 4 files whose names do not end as a picture's, as train/caf\xe9/\xfe.txt"]
    spec = opened(lookup(text))["train"].spec
    assert spec.classes == (r"caf\xe9", "th\\xe9\N{REPLACEMENT CHARACTER}")
    other = tmp_path / "train" / os.fsdecode(b"caf\xe9") / "3.png"
    picture(other)
    assert opened(lookup(text))["train"].spec.fingerprint != spec.fingerprint
