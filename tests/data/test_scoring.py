"""Data that is only scored is read as the model's own was, whole, with its classes by their names."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import source as source_module
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.scoring import Renumbered, aligned, scored
from cnn_jax.data.source import ArraySource, View, opened, strata
from cnn_jax.data.spec import Field, Spec
from cnn_jax.lookup import lookup

DRAW = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def unsaid(monkeypatch):
    monkeypatch.setattr(source_module, "_SAID", set())


def spec_of(classes=("cat", "dog"), **prepare: object) -> Spec:
    return Spec(
        name="own", classes=classes, inputs={"image": Field("image", (6, 6, 3), "uint8")},
        targets={"label": Field("label", (), "int32")},
        prepare=ImagePrepare(size=(6, 6), channels=3, **prepare), licence="", citation="", fingerprint="",
    )  # fmt: skip


def fill(root: Path, count: int, classes=("cat", "dog"), start: int = 0) -> None:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            pixels = DRAW.integers(0, 256, (9, 12, 3), np.uint8)
            pixels[..., 0] = label
            Image.fromarray(pixels).save(root / name / f"{number}.png")


def everything(source) -> dict[str, np.ndarray]:
    return source.batch(np.arange(len(source)))


def test_a_set_without_splits_is_scored_whole(tmp_path: Path, recwarn) -> None:
    fill(tmp_path, 25)
    for split in ("test", "validation", "train"):
        source = scored(lookup(f"folder:{tmp_path}"), split, spec_of())
        assert len(source) == 50 and np.bincount(everything(source)["label"]).tolist() == [25, 25]
        assert f"it has no splits: all of it is scored as {split}" in str(recwarn.pop().message)
    assert not recwarn  # nothing is cut out
    training = opened(lookup(f"folder(path={str(tmp_path)!r}, size=6)"))
    assert len(training["test"]) == 10 and "20% of each class" in str(recwarn.pop().message)
    # What training is not shown does not move its statistics.
    part = everything(training["train"])["image"] / 255
    np.testing.assert_allclose(training["train"].spec.prepare.mean, part.mean((0, 1, 2)))


@pytest.mark.parametrize("name", ["val", "Test", "training", "dev"])
def test_a_set_of_one_split_only_is_scored(tmp_path: Path, name: str, recwarn) -> None:
    fill(tmp_path / name, 3)
    assert len(scored(lookup(f"folder:{tmp_path}"), "test", spec_of())) == 6
    lines = [str(warning.message).partition(": ")[2] for warning in recwarn]
    split = {"val": "validation", "Test": "test", "training": "train", "dev": "validation"}[name]
    assert lines == ([f"it has a {split} split only, which is scored as test"] if split != "test" else [])


def test_of_several_splits_the_one_asked_for_is_scored(tmp_path: Path) -> None:
    for count, name in enumerate(("train", "val"), 2):
        fill(tmp_path / name, count, start=10 * count)
    assert len(scored(lookup(f"folder:{tmp_path}"), "validation", spec_of())) == 6
    with pytest.raises(ValueError, match="has no test split, but train, validation: score another by --split"):
        scored(lookup(f"folder:{tmp_path}"), "test", spec_of())


def test_all_splits_are_scored_together(tmp_path: Path, recwarn) -> None:
    for count, name in enumerate(("train", "val"), 2):
        fill(tmp_path / name, count, start=10 * count, classes=("dog", "cat"))
    source = scored(lookup(f"folder:{tmp_path}"), "all", spec_of(("dog", "cat")))
    assert len(source) == 10 and not [line for line in recwarn if "only" in str(line.message)]
    order = np.array([9, 0, 4, 3, 5])
    batch = source.batch(order)
    names = source.files(order)
    assert [name.split("/")[-3:-1] for name in names] == [
        ["val", "dog"], ["train", "cat"], ["val", "cat"], ["train", "dog"], ["val", "cat"]
    ]  # fmt: skip
    assert batch["label"].tolist() == [0, 1, 1, 0, 1]  # in the order of the model's classes
    for row, name in zip(batch["image"], names, strict=True):
        assert row[0, 0, 0] == (np.asarray(Image.open(name))[0, 0, 0])


@pytest.mark.parametrize(
    "names", [("test_images", "test_labels"), ("x_val", "y_val"), ("images", "labels"), ("X", "Y")]
)
def test_arrays_without_train_are_scored(tmp_path: Path, names: tuple[str, str]) -> None:
    images = DRAW.integers(0, 256, (8, 9, 12, 3), np.uint8)
    np.savez(tmp_path / "set.npz", **{names[0]: images, names[1]: np.arange(8) % 2, "classes": ["cat", "dog"]})
    source = scored(lookup(f"npz:{tmp_path / 'set.npz'}"), "test", spec_of())
    assert len(source) == 8 and source.spec.input.shape == (6, 6, 3)
    if "test" in names[0]:
        with pytest.raises(ValueError, match="has no train split, but test"):
            source_module.split_of(opened(lookup(f"npz:{tmp_path / 'set.npz'}")), "train")


def test_it_is_read_as_the_models_own_data(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    spec = spec_of(resize="letterbox", interpolation="bicubic", background=7, white=4095)
    found = scored(lookup(f"folder:{tmp_path}"), "test", spec).spec.prepare
    assert (found.size, found.resize, found.interpolation, found.white) == ((6, 6), "letterbox", "bicubic", 4095)
    said = partial(lookup(f"folder:{tmp_path}"), resize="stretch")
    assert scored(said, "test", spec).spec.prepare.resize == "stretch"


def test_classes_in_another_order_are_taken_by_their_names(tmp_path: Path) -> None:
    names = tuple(
        str(number) for number in range(12)
    )  # as an imported model has them; folders are in alphabetical order
    fill(tmp_path, 2, names)
    with pytest.warns(UserWarning, match="classes are in another order than the run's and are taken by their names"):
        source = scored(lookup(f"folder:{tmp_path}"), "test", spec_of(names))
    batch = everything(source)
    assert source.spec.classes == names and sorted(batch["label"].tolist()) == sorted([*range(12)] * 2)
    folders = sorted(names)
    assert [names[label] for label in batch["label"]] == [name for name in folders for _ in range(2)]
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], [int(n) for n in batch["label"]])
    np.testing.assert_array_equal(strata(source), batch["label"])
    with pytest.warns(UserWarning, match="1 of 13 classes of the model are not in the data, as '12': an answer that"):
        some = scored(lookup(f"folder:{tmp_path}"), "test", spec_of((*names[:5], "12", *names[5:])))
    assert sorted(set(everything(some)["label"].tolist())) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    for other in (("cat", "dog"), names[:-1]):
        with pytest.raises(ValueError, match="has other classes than the run was trained on"):
            scored(lookup(f"folder:{tmp_path}"), "test", spec_of(other))


def test_every_target_that_names_classes_is_renumbered() -> None:
    arrays = {
        "image": DRAW.random((2, 3, 3, 1), np.float32),
        "label": np.array([0, -1], np.int32),
        "box_labels": np.array([[2, -1], [1, 0]], np.int32),
        "map": np.array([[[0, 1], [2, 255]], [[255, 2], [1, 0]]], np.uint8),
        "tags": np.array([[1, 0, 0], [0, 1, 1]], np.uint8),
    }
    roles = {"image": "image", "label": "label", "box_labels": "box_labels", "map": "class_map", "tags": "labels"}
    fields = {name: Field(role, arrays[name].shape[1:], str(arrays[name].dtype)) for name, role in roles.items()}
    inputs = {"image": fields.pop("image")}
    spec = Spec(
        name="x", classes=("a", "b", "c"), inputs=inputs, targets=fields, prepare=ImagePrepare(), licence="",
        citation="", fingerprint="",
    )  # fmt: skip
    source = Renumbered(ArraySource(arrays, spec), ("c", "a", "b"))
    batch = everything(View(source, np.arange(2)))
    assert batch["label"].tolist() == [1, -1] and batch["box_labels"].tolist() == [[0, -1], [2, 1]]
    assert batch["map"].tolist() == [[[1, 2], [0, 255]], [[255, 0], [2, 1]]]
    assert batch["tags"].tolist() == [[0, 1, 0], [1, 0, 1]]
    assert {name: array.dtype for name, array in batch.items()} == {name: a.dtype for name, a in arrays.items()}
    assert aligned(source, source.spec) is source
