import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from cnn_jax.data import arrays
from cnn_jax.data.source import opened
from cnn_jax.data.spec import Field
from cnn_jax.lookup import lookup
from tests.data.reading import labels, read

RNG = np.random.default_rng(0)
GOOD = {
    "train_images": RNG.integers(0, 256, (20, 4, 5, 3), np.uint8),
    "train_labels": np.arange(20) % 3,
    "test_images": RNG.integers(0, 256, (6, 4, 5, 3), np.uint8),
    "test_labels": np.arange(6) % 3,
}


def save(path, **changes) -> str:
    arrays = {key: value for key, value in (GOOD | changes).items() if value is not None}
    np.savez(path / "set.npz", **arrays)
    return f"npz:{path / 'set.npz'}"


def test_arrays_come_back(tmp_path):
    text = save(tmp_path)
    train, test = read(text, "train", 0), read(text, "test")
    np.testing.assert_array_equal(train.batch(np.arange(20))["image"], GOOD["train_images"])
    np.testing.assert_array_equal(labels(test), GOOD["test_labels"])
    assert train.spec.fields == {"image": Field("image", (4, 5, 3), "uint8"), "label": Field("label", (), "int32")}
    assert train.spec.classes == ("0", "1", "2")
    np.testing.assert_allclose(test.spec.prepare.mean, (GOOD["train_images"] / 255).mean((0, 1, 2)))
    assert np.bincount(labels(read(text, "validation"))).tolist() == [1, 1, 1]


def test_keras_names_and_grey_images(tmp_path):
    np.savez(
        tmp_path / "mnist.npz",
        x_train=GOOD["train_images"][..., 0],
        y_train=GOOD["train_labels"][:, None].astype(np.uint8),
        x_test=GOOD["test_images"][..., 0],
        y_test=GOOD["test_labels"],
        classes=np.array(["ant", "bee", "cow", "dog"]),
    )
    source = read(f"npz:{tmp_path / 'mnist.npz'}", "train", 0, size=8)
    assert source.spec.input.shape == (8, 8, 1) and source.spec.classes == ("ant", "bee", "cow", "dog")
    np.testing.assert_array_equal(labels(source), GOOD["train_labels"])


def test_dtypes(tmp_path):
    wide = {key: GOOD[key].astype(np.int64) for key in ("train_images", "test_images")}
    assert read(save(tmp_path, **wide), "train").spec.input.dtype == "uint8"
    floats = {key: GOOD[key] / 255 for key in ("train_images", "test_images")}
    source = read(save(tmp_path, **floats), "test")
    assert source.spec.input.dtype == "float32"
    np.testing.assert_allclose(source.spec.prepare.mean, (GOOD["train_images"] / 255).mean((0, 1, 2)), rtol=1e-5)


def test_own_validation_and_no_test(tmp_path):
    text = save(
        tmp_path, val_images=GOOD["test_images"], val_labels=GOOD["test_labels"], test_images=None, test_labels=None
    )
    assert len(read(text, "train")) == 20 and len(read(text, "validation", 0)) == 6
    with pytest.raises(ValueError, match="has no test split"):
        read(text, "test")


def test_floats_declare_their_range_over_all_splits(tmp_path):
    floats = {key: GOOD[key] / 255 for key in ("train_images", "test_images")}
    floats["test_images"] = floats["test_images"] * 3 - 1
    field = read(save(tmp_path, **floats), "train").spec.input
    every = np.concatenate([floats[key].astype(np.float32).ravel() for key in floats])
    assert field.range == (every.min(), every.max()) and field.range[0] == -1


def test_bytes_are_brought_to_size_and_floats_are_not(tmp_path):
    assert read(save(tmp_path), "train", size=(8, 6), channels=1).spec.input.shape == (8, 6, 1)
    floats = {key: GOOD[key] / 255 for key in ("train_images", "test_images")}
    with pytest.raises(ValueError, match="size and channels need uint8 images, not examples .* of float32"):
        read(save(tmp_path, **floats), "train", size=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None}, "has train_labels but not the images"),
        ({"test_labels": None}, "has test_images but not the labels"),
        ({key: None for key in GOOD} | {"pixels": np.zeros(3)}, "has no train_images and train_labels.* but pixels"),
        ({"train_images": np.zeros((20, 4), np.uint8)}, r"must be \[N, H, W\]"),
        ({"train_images": np.zeros((0, 4, 5, 3), np.uint8)}, r"must be \[N, H, W\]"),
        ({"train_images": np.zeros((20, 3, 32, 32), np.uint8)}, "looks channels first"),
        ({"train_images": GOOD["train_images"] > 9}, "must be integers in 0..255 or finite floats"),
        ({"train_images": GOOD["train_images"].astype(int) - 1}, "must be integers in 0..255"),
        ({"train_images": GOOD["train_images"].astype(int) + 300}, "must be integers in 0..255"),
        ({"train_images": np.full((20, 4, 5, 3), np.nan)}, "finite floats"),
        ({"train_images": GOOD["train_images"] * 1j}, "integers in 0..255"),
        ({"train_images": GOOD["train_images"][:7]}, "7 train_images but 20 train_labels"),
        (
            {"test_images": np.zeros((6, 4, 4, 3), np.uint8)},
            r"test images are \[4, 4, 3\] uint8, train images \[4, 5, 3\]",
        ),
        ({"test_images": np.zeros((6, 4, 5, 3), np.float32)}, "test images are .* float32"),
        ({"train_labels": np.arange(20) - 1}, "must be class numbers from 0, not -1"),
        ({"train_labels": np.arange(20.0)}, "must be integers"),
        ({"train_labels": np.zeros((20, 3), int)}, "must be integers"),
        ({"train_labels": np.full(20, 2**40)}, "must be class numbers"),
        ({"test_labels": np.full(6, 3)}, "test label 3 is not below the 3 classes"),
        ({"classes": np.array(["a", "b"])}, "train label 2 is not below the 2 classes"),
        ({"classes": np.arange(3)}, "classes must be a list of names"),
        ({"classes": np.array(["a", "a", "b"])}, "two classes are named 'a'"),
        ({"classes": np.array(["a", "", "b"])}, "a class has no name"),
        ({"train_labels": np.zeros(20, int), "test_labels": np.zeros(6, int)}, "has only one class, '0'"),
        ({name: np.full(GOOD[name].shape, 1e300) for name in ("train_images", "test_images")}, "finite floats"),
        ({"train_labels": np.array([None] * 20)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_bad_arrays_are_named_in_one_line(tmp_path, changes, message):
    text = save(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        opened(lookup(text))
    assert "\n" not in str(caught.value) and "set.npz" in str(caught.value)


SPLITS = {"train": ("train", "Training"), "validation": ("valid", "VAL", "dev"), "test": ("test", "testing")}


@pytest.mark.parametrize("form", ["{}_images {}_labels", "x_{} y_{}", "{}_x {}_y", "images_{} labels_{}"])
@pytest.mark.parametrize("number", range(3))
def test_splits_by_any_of_their_names(tmp_path, form, number):
    stored = {}
    for count, names in enumerate(SPLITS.values(), 3):
        for kind, name in zip(("images", "labels"), form.split(), strict=True):
            key = name.format(names[min(number, len(names) - 1)])
            stored[key] = GOOD[f"train_{kind}"][:count]
    np.savez(tmp_path / "set.npz", **stored)
    assert {split: len(s) for split, s in opened(lookup(f"npz:{tmp_path / 'set.npz'}")).items()} == {
        "train": 3, "validation": 4, "test": 5
    }  # fmt: skip


def test_a_late_split_is_checked_when_the_set_is_opened(tmp_path):
    floats = {key: (GOOD[key] / 255).astype(np.float64) for key in ("train_images", "test_images")}
    floats["test_images"][3, 1, 1, 1] = 1e300  # finite, but not in float32
    with pytest.raises(ValueError, match="test_images must be integers in 0..255 or finite floats"):
        opened(lookup(save(tmp_path, **floats)))


@pytest.mark.parametrize("unit", [1e-7, 1e-20, 1.0, 1e20])
def test_statistics_know_no_unit(tmp_path, unit):
    floats = {key: GOOD[key] / 255 * unit for key in ("train_images", "test_images")}
    prepare = opened(lookup(save(tmp_path, **floats)))["train"].spec.prepare
    expected = floats["train_images"].astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(prepare.std, expected.std((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(prepare.mean, expected.mean((0, 1, 2)), rtol=1e-6)


def test_what_expands_to_much_more_than_it_is_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "set.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in GOOD.items():
            buffer = io.BytesIO()
            np.save(buffer, np.zeros((2**21, 2, 2), np.uint8) if "images" in name else array)
            file.writestr(f"{name}.npy", buffer.getvalue())
    monkeypatch.setattr(arrays, "BYTES", 2**20)
    read = np.lib.format.read_array
    monkeypatch.setattr(np.lib.format, "read_array", lambda *args, **kwargs: pytest.fail("was read"))
    with pytest.raises(
        ValueError, match=r"set.npz is .* \(its arrays take 16,777,\d+ bytes, at most .*: store them uncom"
    ):
        opened(lookup(f"npz:{tmp_path / 'set.npz'}"))
    monkeypatch.setattr(arrays, "memory", lambda: 300)
    with pytest.raises(ValueError, match="its arrays take .* bytes, at most 300:"):
        opened(lookup(save(tmp_path)))
    monkeypatch.setattr(np.lib.format, "read_array", read)
    monkeypatch.undo()
    assert len(opened(lookup(save(tmp_path)))["train"]) == 20  # stored as it is, it may be of any size
    assert 2**28 < arrays.memory()


def test_an_archive_is_opened_once_and_takes_no_more_than_twice_its_size(tmp_path, monkeypatch):
    images = np.random.default_rng(0).random((2000, 32, 32, 1), np.float32)
    labels = np.arange(2000) % 10
    parts = {f"{s}_{k}": v for s in ("train", "val", "test") for k, v in (("images", images), ("labels", labels))}
    np.savez(tmp_path / "set.npz", **parts, junk=np.zeros(10**7))
    opens = []
    real = zipfile.ZipFile.__init__
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda *args, **kwargs: opens.append(1) or real(*args, **kwargs))
    tracemalloc.start()
    opened(lookup(f"npz:{tmp_path / 'set.npz'}"), validation=0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert opens == [1] and peak < 2 * 3 * images.nbytes


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    for path in (str(tmp_path / "array.npy"), str(tmp_path / "none.npz"), ""):
        with pytest.raises(ValueError, match="is not a|is empty"):
            opened(lookup(f"npz({path!r})"))
