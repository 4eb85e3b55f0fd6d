import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        ({"train_labels": np.array([None] * 20)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_bad_arrays_are_named_in_one_line(tmp_path, changes, message):
    text = save(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        opened(lookup(text))
    assert "\n" not in str(caught.value) and "set.npz" in str(caught.value)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    np.savez_compressed(folder / "set.npz", **GOOD)
    return folder, (folder / "set.npz").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_raise_only_value_errors(stored, data):
    folder, content = stored
    broken = bytearray(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    for _ in range(data.draw(st.integers(0, 5))):
        if broken:
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "broken.npz"
    path.write_bytes(broken)
    try:
        opened(lookup(f"npz:{path}"))
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    for path in (str(tmp_path / "array.npy"), str(tmp_path / "none.npz"), ""):
        with pytest.raises(ValueError, match="is not a"):
            opened(lookup(f"npz({path!r})"))
