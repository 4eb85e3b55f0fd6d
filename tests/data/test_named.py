import gzip
import hashlib
import importlib
import importlib.resources
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import digits, fashion_mnist, mnist1d, trees, tuxpaint
from cnn_jax.data.placement import placed, to_original
from cnn_jax.data.source import opened
from cnn_jax.data.spec import Field
from cnn_jax.lookup import lookup

needs_fashion = pytest.mark.skipif(fashion_mnist._folder() is None, reason=fashion_mnist.INSTALL)
needs_mnist1d = pytest.mark.skipif(mnist1d.available() is not None, reason="pip install mnist1d")


needs_trees = pytest.mark.skipif(trees.available() is not None, reason=trees.INSTALL)
needs_stamps = pytest.mark.skipif(tuxpaint.available() is not None, reason=tuxpaint.INSTALL)


def everything(name: str):
    return [(source, source.batch(np.arange(len(source)))) for source in opened(lookup(name)).values()]


def test_digits_are_the_halves_of_scikit_learn():
    from sklearn.datasets import load_digits

    (train, first), (test, second) = everything("digits")
    assert (len(train), len(test), train.spec.input) == (898, 899, Field("image", (8, 8, 1), "uint8"))
    reference = load_digits()
    images = np.concatenate([first["image"], second["image"]])[..., 0]
    np.testing.assert_allclose(images * (16 / 255), reference.images, atol=0.5 * 16 / 255)
    assert images.max() == 255 and len(np.unique(images)) == 17
    np.testing.assert_array_equal(np.concatenate([first["label"], second["label"]]), reference.target)
    assert train.spec.classes == tuple("0123456789") and digits.available() is None
    assert train.spec == test.spec
    assert train.spec.fingerprint.startswith("03988d59")


@needs_fashion
def test_fashion_mnist_counts():
    (train, first), (test, second) = everything("fashion_mnist")
    assert (len(train), len(test), train.spec.input) == (60_000, 10_000, Field("image", (28, 28, 1), "uint8"))
    assert np.bincount(first["label"]).tolist() == [6000] * 10
    assert np.bincount(second["label"]).tolist() == [1000] * 10
    np.testing.assert_allclose(train.spec.prepare.mean, 0.2860, atol=5e-5)  # the figures everyone normalises by
    np.testing.assert_allclose(train.spec.prepare.std, 0.3530, atol=5e-5)
    assert train.spec.classes[first["label"][0]] == "ankle boot" and len(train.spec.classes) == 10
    assert train.spec.fingerprint.startswith("8739e1bf")


@needs_fashion
def test_fashion_mnist_is_the_published_file():
    # With the gzip header as published (name and time) in place of Debian's, the file has the checksum TFDS registers.
    folder = fashion_mnist._folder()
    name = "t10k-labels-idx1-ubyte"
    body = (folder / f"{name}.gz").read_bytes()
    assert body[3] == 0  # a header of ten bytes, without a name
    header = bytes.fromhex("1f8b0808") + (1504176627).to_bytes(4, "little") + b"\x00\x03" + name.encode() + b"\0"
    registered = (
        importlib.resources.files("tensorflow_datasets").joinpath("url_checksums/fashion_mnist.txt").read_text()
    )
    assert hashlib.sha256(header + body[10:]).hexdigest() in registered


@needs_fashion
def test_fashion_mnist_from_a_folder(tmp_path, monkeypatch):
    source = fashion_mnist._folder()
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    (tmp_path / "fashion_mnist").mkdir()
    for name in fashion_mnist.SHA256:
        (tmp_path / "fashion_mnist" / f"{name}.gz").symlink_to(source / f"{name}.gz")
    assert fashion_mnist._folder() == tmp_path / "fashion_mnist"
    labels = gzip.decompress((source / "t10k-labels-idx1-ubyte.gz").read_bytes())
    damaged = tmp_path / "fashion_mnist" / "train-images-idx3-ubyte.gz"
    damaged.unlink()
    for content, message in (
        (gzip.compress(labels), "sha256"),
        (gzip.compress(labels)[:-9], "damaged"),
        (b"", "sha256|damaged"),
    ):
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            opened(lookup("fashion_mnist"))
        assert str(damaged) in str(caught.value) and "\n" not in str(caught.value)


def test_fashion_mnist_missing_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", Path(tmp_path / "nothing"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("CNN_JAX_DATA", raising=False)
    with pytest.raises(FileNotFoundError) as caught:
        opened(lookup("fashion_mnist"))
    message = str(caught.value)
    assert "\n" not in message and fashion_mnist.available() in message
    for way in ("apt-get install dataset-fashion-mnist", "CNN_JAX_DATA", "TFDS"):
        assert way in message


@needs_mnist1d
def test_mnist1d_is_the_published_set_and_leaves_global_random_state_alone(monkeypatch):
    import requests

    lookup("mnist1d"), importlib.import_module("mnist1d.data")  # what is imported for the first time may draw a number

    monkeypatch.setattr(requests, "get", lambda *_, **__: pytest.fail("downloads"))
    mnist1d._arrays.cache_clear()
    before = random.getstate(), np.random.get_state()[1].tolist()
    (train, first), (test, second) = everything("mnist1d")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    signals = np.concatenate([first["signal"], second["signal"]])
    field = Field("signal", (40, 1), "float32", (signals.min(), signals.max()))
    assert (len(train), len(test), train.spec.input) == (4000, 1000, field)
    labels = np.concatenate([first["label"], second["label"]])
    assert np.bincount(labels).tolist() == [500] * 10
    assert labels[:5].tolist() == [2, 6, 4, 5, 6]
    np.testing.assert_allclose([signals.mean(), signals.std()], [0, 1], atol=1e-5)  # as the generator leaves them
    np.testing.assert_allclose(signals[0, :3, 0], [-0.33200567, -0.47191037, -0.77869708], atol=1e-6)


@needs_mnist1d
def test_sets_of_the_studies_on_mnist1d():
    _, (test, published) = everything("mnist1d")
    _, (other, same) = everything("mnist1d(shuffled=True)")
    order = np.random.RandomState(42).permutation(40)  # as the authors' notebook draws it
    np.testing.assert_array_equal(same["signal"], published["signal"][:, order])
    assert test.spec.fingerprint != other.spec.fingerprint
    (train, clean), (_, second) = everything("mnist1d(train=400, test=100)")
    (_, noisy), (_, unspoilt) = everything("mnist1d(train=400, test=100, wrong_labels=0.15)")
    np.testing.assert_array_equal(noisy["signal"], clean["signal"])
    np.testing.assert_array_equal(unspoilt["label"], second["label"])
    assert len(train) == 400 and 0.08 < (noisy["label"] != clean["label"]).mean() < 0.17  # one in ten is drawn right
    for text in ("mnist1d(train=4)", "mnist1d(test=0)", "mnist1d(wrong_labels=2.0)"):
        with pytest.raises(ValueError, match=r"^mnist1d\(train=.*10 classes"):
            opened(lookup(text))


@needs_mnist1d
def test_another_mnist1d_is_refused(monkeypatch):
    other = {"x": np.zeros((4, 40)), "x_test": np.zeros((1, 40)), "y": np.zeros(4), "y_test": np.zeros(1)}
    monkeypatch.setattr("mnist1d.data.make_dataset", lambda args: other)
    mnist1d._arrays.cache_clear()
    with pytest.raises(ValueError, match="the set made by mnist1d has sha256 .* expected bdb19939d87d4f9e"):
        mnist1d._arrays()


def test_mnist1d_missing_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(mnist1d.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="not installed: pip install mnist1d"):
        opened(lookup("mnist1d"))


def test_other_digits_are_refused(monkeypatch):
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    digits._arrays.cache_clear()
    with pytest.raises(ValueError, match="digits of scikit-learn has sha256 .* expected 0000000000000000"):
        digits._arrays()


def test_a_missing_tfds_set_fails_at_once_without_importing_tfds(tmp_path):
    code = (
        "import sys, time\n"
        "from cnn_jax.data.source import opened\n"
        "from cnn_jax.data.tfds import tfds\n"
        "start = time.monotonic()\n"
        "try:\n    opened(lambda: tfds('cifar10'))\n"
        "except FileNotFoundError as error:\n    print(error)\n"
        "print(time.monotonic() - start < 5, 'tensorflow_datasets' in sys.modules)"
    )
    environment = {"TFDS_DATA_DIR": str(tmp_path), "PATH": ""}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    message, last = run.stdout.splitlines()
    assert "tfds build cifar10" in message and "TFDS_DATA_DIR" in message
    assert last == "True False"


@needs_trees
def test_trees_are_split_by_image_and_tiles_hold_all_of_each_box_together(monkeypatch):
    splits = trees.trees()
    assert {split: len(source) for split, source in splits.items()} == {"train": 42, "test": 13}
    area = {"train": 0.0, "test": 0.0}
    for split, source in splits.items():
        batch = source.batch(np.arange(len(source)))
        real = batch["objects"] == 0
        boxes = batch["boxes"][real]
        assert (boxes >= 0).all() and (boxes <= 400).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        area[split] = float(batch["areas"].sum())
        assert area[split] == np.prod(boxes[:, 2:] - boxes[:, :2], 1).sum()  # nothing is scaled
        names = {name.partition(" ")[0] for name in source.files(np.arange(len(source)))}
        assert names == set(trees.IMAGES[split])
    whole = {"train": 574, "test": 279 + 61}
    for split, names in trees.IMAGES.items():
        found = [
            trees.annotation(trees.Place(trees._folder() / f"{name}.xml", trees._folder())).boxes for name in names
        ]
        boxes = np.concatenate(found)
        assert len(boxes) == whole[split]
        assert area[split] == np.prod(boxes[:, 2:] - boxes[:, :2] + 1, 1).sum()
    monkeypatch.setattr(trees, "IMAGES", {split: ("OSBS_029",) for split in trees.IMAGES})
    small, large = (
        trees.trees(tile=150, size=size, test=("OSBS_029",))["test"].batch(np.arange(9)) for size in (75, 150)
    )
    for row in range(9):
        back = [
            to_original(b["boxes"][row], placed(b["placement"][row], (s, s))) for b, s in ((small, 75), (large, 150))
        ]
        np.testing.assert_allclose(back[0], back[1], atol=1e-3)


@needs_stamps
def test_stamps_are_on_one_side_of_the_split(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stamps = tuxpaint._stamps(tuxpaint.DEBIAN)
    train, test = ({file for group in stamps[split] for file in group} for split in ("train", "test"))
    assert not train & test and len(train) > len(test) > 50
    chosen = {split: [group[:2] for group in groups] for split, groups in stamps.items()}
    monkeypatch.setattr(tuxpaint, "_stamps", lambda folder: chosen)
    with pytest.warns(UserWarning, match="made in"):
        splits = tuxpaint.tuxpaint(train=6, test=2, size=64)
    batch = splits["train"].batch(np.arange(6))
    real = batch["objects"] >= 0
    assert real.any(1).all() and ((batch["boxes"][..., 2:] > batch["boxes"][..., :2]).all(-1) == real).all()
    assert batch["image"].std() > 30 and splits["test"].spec.classes == tuxpaint.CLASSES
