import hashlib
import subprocess
import sys

import numpy as np
import pytest

from cnn_jax.data.images import Decode
from cnn_jax.data.source import carve, open_source, permutation, subset
from cnn_jax.data.splits import array_splits, statistics


def toy(size: int, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 4, 4, 3), np.uint8)
    labels = np.arange(size) % classes
    arrays = {"train": (images, labels)}
    return array_splits("toy", arrays, Decode(), classes=["a", "b", "c"], licence="", citation="")["train"]


def rows(source) -> set[bytes]:
    return {image.tobytes() for image in source.batch(np.arange(len(source)))["image"]}


def test_statistics_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (700, 5, 6, 3), np.uint8)
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-9)
    signals = np.random.default_rng(0).normal(3, 2, (600, 7, 2)).astype(np.float32)
    mean, std = statistics(signals)
    np.testing.assert_allclose(mean, signals.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(std, signals.std((0, 1)), rtol=1e-5)


def test_a_constant_channel_has_std_one():
    assert statistics(np.full((5, 2, 2, 1), 51, np.uint8)) == ((0.2,), (1.0,))


def test_items_and_batches_agree():
    source = toy(9)
    batch = source.batch(np.array([4, 4, 0]))
    assert batch["image"].shape == (3, 4, 4, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    for row, index in enumerate((4, 4, 0)):
        np.testing.assert_array_equal(batch["image"][row], source[index]["image"])
        assert batch["label"][row] == source[index]["label"]


def test_arrays_shared_between_splits_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        toy(3)[0]["image"][:] = 0


def test_permutation_is_pinned():
    # Resuming a run with another NumPy must not change the order of its data.
    assert permutation(10, 3, 1).tolist() == [3, 0, 4, 8, 2, 7, 9, 6, 1, 5]


@pytest.mark.parametrize(("size", "fraction", "count"), [(100, 0.1, 10), (5, 0.01, 1), (3, 0.99, 2), (2, 0.5, 1)])
def test_carved_parts_cover_train_without_overlap(size, fraction, count):
    train, validation = carve(size, fraction, 0)
    assert len(validation) == count
    assert sorted([*train, *validation]) == list(range(size))
    assert not np.array_equal(carve(100, 0.3, 0)[1], carve(100, 0.3, 1)[1])


def test_validation_is_carved_from_train_only():
    whole = open_source("digits", "train", validation=0)
    train = open_source("digits", "train")
    validation = open_source("digits", "validation")
    assert (len(whole), len(train), len(validation)) == (898, 808, 90)
    assert rows(train) | rows(validation) == rows(whole)
    assert not rows(validation) & rows(open_source("digits", "test"))
    assert len(open_source("digits", "test", validation=0)) == 899
    assert validation.labels.shape == (90,)
    np.testing.assert_array_equal(validation[7]["image"], validation.batch(np.array([7]))["image"][0])


@pytest.mark.parametrize(
    ("text", "split", "kwargs", "message"),
    [
        ("digits", "validation", {"validation": 0}, "has no validation split: set validation above 0"),
        ("digits", "valid", {}, "split must be one of train, validation, test"),
        ("digits", "train", {"validation": 1.0}, "must be a fraction"),
        ("digits", "train", {"validation": float("nan")}, "must be a fraction"),
        ("digits", "train", {"image_size": 0}, "image_size must be at least 1"),
        ("digits", "train", {"channels": 2}, "channels must be 1, 3 or 4"),
        ("digits", "train", {"corrupt": "ignore"}, "corrupt must be"),
        ("digits:8", "train", {}, "takes no argument"),
        ("digts", "train", {}, "did you mean 'digits'"),
        ("source", "train", {}, "unknown data source 'source'"),
        ("", "train", {}, "unknown data source ''"),
        ("os.path", "train", {}, "unknown data source"),
    ],
)
def test_errors_are_one_line(text, split, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_source(text, split, **kwargs)
    assert "\n" not in str(caught.value)


def test_named_images_are_resized_and_coloured():
    source = open_source("digits", "train", image_size=16, channels=3)
    small = open_source("digits", "train")
    assert source.spec.shape == (16, 16, 3) and len(source.spec.mean) == 3
    assert source.spec.fingerprint == small.spec.fingerprint
    image = source[0]["image"]
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    assert abs(image.mean() - small[0]["image"].mean()) < 8


def test_subsets_are_balanced_and_nested():
    source = toy(60)
    chosen = {}
    for count in (1, 5, 20):
        part = subset(source, count, seed=3)
        assert np.bincount(part.labels).tolist() == [count] * 3
        chosen[count] = set(part.indices.tolist())
    assert chosen[1] < chosen[5] < chosen[20]
    assert chosen[5] != set(subset(source, 5, seed=4).indices.tolist())
    inner = subset(subset(source, 5, seed=3), 1, seed=0)
    np.testing.assert_array_equal(inner.batch(np.arange(3))["label"], inner.labels)


@pytest.mark.parametrize("count", [0, 21])
def test_subset_needs_enough_examples(count):
    with pytest.raises(ValueError, match=r"labels_per_class must be 1 to 20 \(examples of a\)"):
        subset(toy(60), count, seed=0)


def test_fingerprint_tells_contents_apart():
    prints = {toy(9).spec.fingerprint, toy(9, seed=1).spec.fingerprint, toy(9, classes=2).spec.fingerprint}
    assert len(prints) == 3 and toy(9).spec.fingerprint in prints
    assert all(len(value) == len(hashlib.sha256().hexdigest()) for value in prints)


def test_data_is_numpy_only():
    code = (
        "import sys, cnn_jax.data.batches, cnn_jax.data.folder, cnn_jax.data.tfds, cnn_jax.data.npz\n"
        "import cnn_jax.data.digits, cnn_jax.data.fashion_mnist, cnn_jax.data.mnist1d\n"
        "heavy = {'jax', 'tensorflow', 'torch', 'matplotlib', 'sklearn', 'scipy', 'tensorflow_datasets'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
