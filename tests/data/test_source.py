import functools
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data import digits, folder, npz, tfds
from cnn_jax.data.access import DecodedSource
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource, carve, fraction, moved, opened, permutation, split_of, subset
from cnn_jax.data.spec import Field
from cnn_jax.data.splits import array_splits, fit_images, statistics
from cnn_jax.lookup import describe, lookup
from tests.data.reading import image, labels, read


def splits_of(arrays: dict, roles: dict, **settings):
    how = ImagePrepare(**settings)
    return array_splits("toy", arrays, how, **roles, classes=["a", "b", "c"], licence="", citation="")


ROLES = {"inputs": {"image": "image"}, "targets": {"label": "label"}}


def toy(size: int, classes: int = 3, seed: int = 0):
    images = np.random.default_rng(seed).integers(0, 256, (size, 4, 4, 3), np.uint8)
    return splits_of({"train": {"image": images, "label": np.arange(size) % classes}}, ROLES)["train"]


def labelled(*counts: int) -> ArraySource:
    """So many examples of each class."""
    return ArraySource({**toy(sum(counts)).arrays, "label": np.repeat(np.arange(len(counts)), counts)}, toy(3).spec)


def rows(part) -> set[bytes]:
    return {image.tobytes() for image in part.batch(np.arange(len(part)))["image"]}


def test_statistics_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (700, 5, 6, 3), np.uint8)
    mean, std = statistics([images])
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-9)
    signals = np.random.default_rng(0).normal(3, 2, (600, 7, 2)).astype(np.float32)
    mean, std = statistics([signals])
    np.testing.assert_allclose(mean, signals.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(std, signals.std((0, 1)), rtol=1e-5)


def test_statistics_of_values_raised_to_gamma():
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)
    mean, std = statistics([images], 0.45)
    raised = (images / 255) ** 0.45
    np.testing.assert_allclose(mean, raised.mean((0, 1, 2)))
    np.testing.assert_allclose(std, raised.std((0, 1, 2)))
    with pytest.raises(ValueError, match="gamma is for images of bytes, not of float32"):
        statistics([images.astype(np.float32)], 0.45)


def test_a_constant_channel_has_std_one():
    assert statistics([np.full((5, 2, 2, 1), 51, np.uint8)]) == ((0.2,), (1.0,))


# Arrays


def test_batches_hold_what_is_asked_for():
    part = toy(9)
    batch = part.batch(np.array([4, 4, 0]))
    assert batch["image"].shape == (3, 4, 4, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    for row, index in enumerate((4, 4, 0)):
        np.testing.assert_array_equal(batch["image"][row], part.arrays["image"][index])
        assert batch["label"][row] == part.arrays["label"][index]


def test_arrays_shared_between_splits_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        toy(3).arrays["image"][:] = 0


def test_fields_are_declared_by_role_shape_type_and_range():
    draw = np.random.default_rng(0)
    arrays = {
        split: {
            "picture": draw.normal(size=(4, 5, 6, 2)).astype(np.float32) + shift,
            "sound": draw.normal(size=(4, 9, 1)).astype(np.float32),
            "where": np.zeros((4, 3, 4), np.float32),
            "what": np.zeros((4, 3), np.int64),
            "map": np.zeros((4, 5, 6), np.uint8),
            "amount": np.zeros((4,), np.float32),
        }
        for split, shift in (("train", 0), ("test", 5))
    }
    roles = {
        "inputs": {"picture": "image", "sound": "signal"},
        "targets": {"where": "boxes", "what": "box_labels", "map": "class_map", "amount": "value"},
    }
    spec = splits_of(arrays, roles)["test"].spec
    pictures = np.concatenate([arrays[split]["picture"] for split in arrays])
    sounds = np.concatenate([arrays[split]["sound"] for split in arrays])
    assert spec.inputs == {
        "picture": Field("image", (5, 6, 2), "float32", (pictures.min(), pictures.max())),
        "sound": Field("signal", (9, 1), "float32", (sounds.min(), sounds.max())),
    }
    assert spec.targets == {
        "where": Field("boxes", (3, 4), "float32"),
        "what": Field("box_labels", (3,), "int32"),
        "map": Field("class_map", (5, 6), "uint8"),
        "amount": Field("value", (), "float32"),
    }
    np.testing.assert_allclose(spec.prepare.mean, arrays["train"]["picture"].mean((0, 1, 2)), rtol=1e-6)


def test_tokens_have_no_statistics():
    arrays = {"train": {"text": np.zeros((4, 7), np.uint8), "label": np.zeros(4, int)}}
    spec = splits_of(arrays, {"inputs": {"text": "tokens"}, "targets": {"label": "label"}})["train"].spec
    assert (spec.prepare.mean, spec.prepare.std) == ((), ()) and spec.input == Field("tokens", (7,), "uint8")


def test_fit_images():
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    assert fit_images(images, ImagePrepare()) is images
    assert fit_images(images, ImagePrepare(size=(6, 6), channels=3)) is images
    expected = np.asarray(Image.fromarray(images[1]).resize((3, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(fit_images(images, ImagePrepare(size=(3, 3)))[1], expected)
    expected = np.asarray(Image.fromarray(images[1]).resize((4, 3), Image.Resampling.BICUBIC))
    found = fit_images(images, ImagePrepare(size=(3, 4), resize="stretch", interpolation="bicubic"))
    np.testing.assert_array_equal(found[1], expected)
    assert fit_images(images, ImagePrepare(channels=1)).shape == (2, 6, 6, 1)
    assert fit_images(images[..., :1], ImagePrepare(size=(4, 5), channels=3)).shape == (2, 4, 5, 3)


@pytest.mark.parametrize("images", [np.zeros((2, 40, 1), np.float32), np.zeros((2, 5, 5, 2), np.uint8)])
def test_fit_needs_images(images):
    with pytest.raises(ValueError, match="need uint8 images"):
        fit_images(images, ImagePrepare(size=(8, 8)))


def test_a_set_that_moved_is_the_same_but_for_its_settings():
    assert moved("folder:a", "folder:/b/c") and moved("npz(a.npz, size=8)", "npz(path='b.npz', size=8)")
    for other in ("folder(b, size=8)", "npz:b", "digits", "experiment.own", "folder"):
        assert not moved("folder:a", other)
    assert not moved("tfds:mnist", "tfds:cifar10")  # another set


# Splits


def test_permutation_is_pinned():
    # Resuming a run with another NumPy must not change the order of its data.
    assert permutation(10, 3, 1).tolist() == [3, 0, 4, 8, 2, 7, 9, 6, 1, 5]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda counts: sum(counts) > 1),
    st.floats(0.001, 0.999),
    st.integers(0, 99),
)
def test_each_class_gives_its_share_to_validation_and_keeps_an_example(counts, share, seed):
    whole = labelled(*counts)
    train, validation = carve(whole, share, seed)
    assert sorted([*train.indices, *validation.indices]) == list(range(sum(counts)))
    assert (np.diff(train.indices) > 0).all() and (np.diff(validation.indices) > 0).all()  # the order stays
    assert len(validation) >= 1
    kept, held_out = (np.bincount(labels(part), minlength=len(counts)) for part in (train, validation))
    expected = [min(round(count * share), count - 1) for count in counts]
    if sum(expected):
        assert held_out.tolist() == expected and kept.min() >= 1
    else:
        assert held_out.sum() == 1  # a single one, of a class that keeps another where there is one
        assert kept.min() >= 1 or max(counts) == 1


@pytest.mark.parametrize(("size", "share", "count"), [(100, 0.1, 10), (5, 0.01, 1), (3, 0.99, 2), (2, 0.5, 1)])
def test_without_classes_the_whole_is_one_group(size, share, count):
    whole = DecodedSource(lambda index, key: {}, size, toy(3).spec, "error")
    train, validation = carve(whole, share, 0)
    assert len(validation) == count and sorted([*train.indices, *validation.indices]) == list(range(size))
    assert train.strata() is None
    big = DecodedSource(lambda index, key: {}, 100, toy(3).spec, "error")
    assert not np.array_equal(carve(big, 0.3, 0)[1].indices, carve(big, 0.3, 1)[1].indices)


def test_what_is_held_out_of_a_class_does_not_depend_on_the_others():
    small, large = carve(labelled(20, 10), 0.3, 0)[1], carve(labelled(20, 90), 0.3, 0)[1]
    assert small.indices[small.indices < 20].tolist() == large.indices[large.indices < 20].tolist()


def test_one_example_cannot_be_carved():
    with pytest.raises(ValueError, match="cannot carve a validation split from 1 example: set validation to 0"):
        carve(labelled(1), 0.5, 0)


def test_validation_is_carved_from_train_only():
    whole = read("digits", "train", 0)
    train, validation = read("digits", "train"), read("digits", "validation")
    assert len(whole) == 898 and 85 <= len(validation) <= 95 and len(train) + len(validation) == 898
    assert rows(train) | rows(validation) == rows(whole)
    assert not rows(validation) & rows(read("digits", "test"))
    assert len(read("digits", "test", 0)) == 899
    assert labels(validation).shape == (len(validation),)
    np.testing.assert_array_equal(image(validation, 7), whole.arrays["image"][validation.indices[7]])
    np.testing.assert_array_equal(validation.strata(), labels(validation))


def test_a_set_of_its_own_validation_split_keeps_it():
    arrays = {split: dict(toy(6, seed=n).arrays) for n, split in enumerate(("train", "validation"))}
    made = splits_of(arrays, ROLES)
    splits = opened(lambda: made, validation=0.5)
    assert splits["train"] is made["train"] and splits["validation"] is made["validation"]


def test_a_source_is_opened_once():
    calls = []

    def counted():
        calls.append(1)
        return {"train": toy(30)}

    splits = opened(counted, validation=0.2)
    assert {split: len(part) for split, part in splits.items()} == {"train": 24, "validation": 6}
    assert calls == [1] and splits["train"].source is splits["validation"].source


@pytest.mark.parametrize(
    ("text", "split", "message"),
    [
        ("digits", "validation", "has no validation split, but train, test: set data.validation above 0"),
        ("digits", "valid", "split must be one of train, validation, test"),
        ("digits(size=(8, -1))", "train", "size must be"),
        ("digits(size=(8, 8, 8))", "train", "size must be"),
        ("digits(channels=2)", "train", "channels must be 1, 3 or 4"),
        ("digits(colour=3)", "train", "digits has no setting 'colour': known: channels, interpolation, size"),
        ("folder(photos, colour=3)", "train", "folder has no setting 'colour'"),
        ("digits:8", "train", "digits takes no text after a colon"),
        ("digts", "train", "did you mean 'digits'"),
        ("source", "train", "unknown name 'source'"),
        ("opened", "train", "unknown name 'opened'"),
        ("", "train", "not a function's name"),
        ("os.path", "train", "unknown name 'os.path'"),
    ],
)
def test_errors_are_one_line(text, split, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(text, split, 0)
    assert "\n" not in str(caught.value)


def test_named_images_are_resized_and_coloured():
    large, small = read("digits", "train", size=16, channels=3), read("digits", "train")
    assert large.spec.input.shape == (16, 16, 3) and len(large.spec.prepare.mean) == 3
    assert large.spec.fingerprint == small.spec.fingerprint
    first = image(large, 0)
    np.testing.assert_array_equal(first[..., 0], first[..., 2])
    assert abs(first.mean() - image(small, 0).mean()) < 8
    assert read("digits", "train", size=(10, 12)).spec.input.shape == (10, 12, 1)


# Parts


def test_subsets_are_balanced_and_nested():
    whole = toy(60)
    chosen = {}
    for count in (1, 5, 20):
        part = subset(whole, count, seed=3)
        assert np.bincount(labels(part)).tolist() == [count] * 3
        chosen[count] = set(part.indices.tolist())
    assert chosen[1] < chosen[5] < chosen[20]
    assert chosen[5] != set(subset(whole, 5, seed=4).indices.tolist())
    inner = subset(subset(whole, 5, seed=3), 1, seed=0)
    np.testing.assert_array_equal(inner.strata(), labels(inner))


@pytest.mark.parametrize("count", [0, 21])
def test_subset_needs_enough_examples(count):
    with pytest.raises(ValueError, match=r"examples per class must be 1 to 20 \(what the rarest has\)"):
        subset(toy(60), count, seed=0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted),
    st.integers(0, 9),
)
def test_shares_are_of_each_class_and_smaller_ones_lie_within_larger_ones(counts, shares, seed):
    whole = labelled(*counts)
    small, large = (fraction(whole, share, seed) for share in shares)
    assert set(small.indices) <= set(large.indices)
    for part, share in ((small, shares[0]), (large, shares[1])):
        assert np.bincount(labels(part)).tolist() == [min(max(round(share * count), 1), count) for count in counts]
        assert (np.diff(part.indices) > 0).all()
    assert len(fraction(whole, 1.0, seed)) == len(whole)


def test_unlabelled_examples_are_a_group_of_their_own():
    mixed = labelled(10, 10, 10)
    mixed.arrays["label"][::2] = -1
    part = fraction(mixed, 0.4)
    assert np.bincount(labels(part) + 1).tolist() == [6, 2, 2, 2]
    train, validation = carve(mixed, 0.2, 0)
    assert np.bincount(labels(validation) + 1).tolist() == [3, 1, 1, 1] and len(train) == 24


def test_fingerprint_tells_contents_apart():
    prints = {toy(9).spec.fingerprint, toy(9, seed=1).spec.fingerprint, toy(9, classes=2).spec.fingerprint}
    assert len(prints) == 3 and toy(9).spec.fingerprint in prints
    assert all(len(value) == len(hashlib.sha256().hexdigest()) for value in prints)


# Names


@pytest.mark.parametrize(
    ("text", "function", "keywords"),
    [
        ("digits", digits.digits, None),
        ("digits(size=16)", digits.digits, {"size": 16}),
        ("folder:my photos", folder.folder, {"path": "my photos"}),
        ("folder:C:/photos (old), 2", folder.folder, {"path": "C:/photos (old), 2"}),
        ("npz:a/b.npz", npz.npz, {"path": "a/b.npz"}),
        ("tfds:name/config:1.0.0", tfds.tfds, {"name": "name/config:1.0.0"}),
        ("folder(my photos, size=(64, 48))", folder.folder, {"path": "my photos", "size": (64, 48)}),
        ("folder(photos)", folder.folder, {"path": "photos"}),
        ("folder( ~/a b/c-d , crop=0.9)", folder.folder, {"path": "~/a b/c-d", "crop": 0.9}),
        ("folder('a, b', channels=1)", folder.folder, {"path": "a, b", "channels": 1}),
        ("folder(path='photos', size=64)", folder.folder, {"path": "photos", "size": 64}),
        ("folder(size=64, path='photos')", folder.folder, {"path": "photos", "size": 64}),
        ("tfds(cifar10:3.0.2, random_area=(0.08, 1))", tfds.tfds, {"name": "cifar10:3.0.2", "random_area": (0.08, 1)}),
        ("data.folder.folder(photos)", folder.folder, {"path": "photos"}),
    ],
)
def test_sources_are_named_shortly_and_described_in_full(text, function, keywords):
    found = lookup(text)
    if keywords is None:
        assert found is function
    else:
        assert found.func is function and found.keywords == keywords and not found.args
    again = lookup(describe(found))
    assert describe(again) == describe(found)
    assert getattr(again, "keywords", None) == keywords


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder(photos, path='other')", "'path' is given twice"),
        ("folder('a', 'b')", "write arguments as key=value"),
        ("folder(photos, 64)", "write arguments as key=value"),
        ("folder(photos, size=big)", "unknown name 'big'"),
        ("folder(my photos", "not a function's name"),
    ],
)
def test_calls_that_a_source_does_not_take(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        lookup(text)
    assert "\n" not in str(caught.value)


def test_of_a_module_of_data_only_the_source_has_a_short_name():
    for name in ("prepared", "array_splits", "carve", "available"):
        with pytest.raises(ValueError, match=f"unknown name '{name}'"):
            lookup(name)
    with pytest.raises(ValueError, match="offers no part 'opened'"):  # it reads files
        lookup("cnn_jax.data.source.opened")


def test_splits_by_name():
    made = {"train": toy(3)}
    assert split_of(made, "train") is made["train"]
    for split, message in (
        ("test", "toy has no test split, but train: score another by --split"),
        ("dev", "split must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            split_of(made, split)


def test_partials_of_sources_open(tmp_path):
    np.savez(tmp_path / "set.npz", train_images=np.zeros((4, 3, 3), np.uint8), train_labels=np.arange(4))
    function = functools.partial(npz.npz, path=str(tmp_path / "set.npz"), size=(5, 6))
    assert opened(lookup(describe(function)))["train"].spec.input.shape == (5, 6, 1)


def test_data_is_numpy_only():
    code = (
        "import sys, cnn_jax.data.batches, cnn_jax.data.folder, cnn_jax.data.tfds, cnn_jax.data.npz\n"
        "import cnn_jax.data.digits, cnn_jax.data.fashion_mnist, cnn_jax.data.mnist1d, cnn_jax.data.files\n"
        "heavy = {'jax', 'tensorflow', 'torch', 'matplotlib', 'sklearn', 'scipy', 'tensorflow_datasets'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
