import re
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import source as source_module
from cnn_jax.data import splits as splits_module
from cnn_jax.data.batches import evaluation_batches
from cnn_jax.data.source import ArraySource, DecodedSource, View, open_source


def write(path, value: int, size=(5, 4), form: str = "png"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path.with_suffix(f".{form}"))


def flat(root, count: int = 10, form: str = "png"):
    for label, name in enumerate(("cat", "dog")):
        for index in range(count):
            write(root / name / f"{index:02d}", 100 * label + index, form=form)


def split_folders(root, names=("train", "test"), classes=("cat", "dog")):
    for split, folder in enumerate(names):
        for label, name in enumerate(classes):
            for index in range(4):
                write(root / folder / name / str(index), 60 * split + 20 * label + index)


def pixels(source) -> list[int]:
    return sorted(int(source[i]["image"][0, 0, 0]) for i in range(len(source)))


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_flat_folder_is_split_for_good(tmp_path):
    flat(tmp_path)
    parts = {split: open_source(f"folder:{tmp_path}", split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 14, "validation": 2, "test": 4}
    assert sorted(sum((pixels(part) for part in parts.values()), [])) == [*range(10), *range(100, 110)]
    assert np.bincount(parts["test"].labels).tolist() == [2, 2]
    spec = parts["train"].spec
    assert (spec.classes, spec.shape, spec.dtype) == (("cat", "dog"), (5, 4, 3), "uint8")
    test = pixels(parts["test"])
    write(tmp_path / "ant" / "0", 200)
    write(tmp_path / "ant" / "1", 200)
    again = open_source(f"folder:{tmp_path}", "test")
    assert pixels(again)[:4] == test and again.spec.fingerprint != spec.fingerprint
    for part in parts.values():
        assert isinstance(part, ArraySource)
        for i in range(len(part)):
            assert part[i]["label"] == part[i]["image"].max() // 100


def test_fingerprint_covers_names(tmp_path):
    flat(tmp_path)
    before = open_source(f"folder:{tmp_path}", "test").spec.fingerprint
    (tmp_path / "dog" / "09.png").rename(tmp_path / "dog" / "99.png")
    assert open_source(f"folder:{tmp_path}", "test").spec.fingerprint != before


@pytest.mark.parametrize("held_out", ["validation", "val"])
def test_split_folders(tmp_path, held_out):
    split_folders(tmp_path, ("train", "test", held_out))
    values = {split: pixels(open_source(f"folder:{tmp_path}", split)) for split in ("train", "test", "validation")}
    base = [0, 1, 2, 3, 20, 21, 22, 23]
    assert values == {"train": base, "test": [60 + b for b in base], "validation": [120 + b for b in base]}


def test_statistics_are_of_train(tmp_path):
    split_folders(tmp_path)
    spec = open_source(f"folder:{tmp_path}", "test").spec
    values = np.array([0, 1, 2, 3, 20, 21, 22, 23]) / 255
    np.testing.assert_allclose(spec.mean, [values.mean()] * 3)
    np.testing.assert_allclose(spec.std, [values.std()] * 3)


def test_sizes_channels_and_formats_mix(tmp_path):
    flat(tmp_path, 5)
    write(tmp_path / "cat" / "wide", 50, size=(9, 20), form="jpg")
    Image.new("L", (7, 7), 30).save(tmp_path / "dog" / "grey.PNG")
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    source = open_source(f"folder:{tmp_path}", "train", validation=0, image_size=6, channels=1)
    test = open_source(f"folder:{tmp_path}", "test", image_size=6, channels=1)
    assert len(source) + len(test) == 12 and source.spec.shape == (6, 6, 1)
    with pytest.raises(ValueError, match="set image_size"):
        for split in ("train", "test"):
            open_source(f"folder:{tmp_path}", split, validation=0)


def test_images_are_brought_to_size_by_the_filter_asked_for(tmp_path):
    split_folders(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "test" / "cat" / "0.png")
    source = open_source(f"folder:{tmp_path}", "test", image_size=5, interpolation="bicubic")
    expected = np.asarray(Image.fromarray(noise).resize((5, 5), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(source[0]["image"], expected)


def test_corrupt_images_are_skipped_and_counted(tmp_path):
    split_folders(tmp_path)
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"broken")
    good = (tmp_path / "train" / "dog" / "2.png").read_bytes()
    (tmp_path / "train" / "dog" / "2.png").write_bytes(good[: len(good) // 2])
    with pytest.warns(UserWarning) as caught:
        source = open_source(f"folder:{tmp_path}", "train", validation=0)
    texts = [str(warning.message) for warning in caught]
    assert any("skipped 2 corrupt images of 8" in text for text in texts)
    assert any(re.search(r"2 corrupt images skipped so far: .*2\.png: cannot decode", text) for text in texts)
    assert pixels(source) == [0, 2, 3, 20, 21, 23]
    np.testing.assert_allclose(source.spec.mean[0], np.mean([0, 2, 3, 20, 21, 23]) / 255)
    with pytest.raises(ValueError, match=r"(1|2)\.png: cannot decode the image") as error:
        open_source(f"folder:{tmp_path}", "train", validation=0, corrupt="error")
    assert "\n" not in str(error.value)


def test_large_folders_are_decoded_on_access(tmp_path, monkeypatch):
    flat(tmp_path, 20)
    small = open_source(f"folder:{tmp_path}", "train")
    monkeypatch.setattr(source_module, "MEMORY_BUDGET", 100)
    monkeypatch.setattr(splits_module, "HASHED_BYTES", 100)
    large = open_source(f"folder:{tmp_path}", "train")
    assert isinstance(large, View) and isinstance(large.source, DecodedSource)
    everything = np.arange(len(small))
    for key in ("image", "label"):
        np.testing.assert_array_equal(large.batch(everything)[key], small.batch(everything)[key])
    np.testing.assert_array_equal(large.labels, small.labels)
    assert large.spec.fingerprint != small.spec.fingerprint
    for file in (tmp_path / "cat").iterdir():
        file.touch()  # neither times nor order of the folder count
    assert open_source(f"folder:{tmp_path}", "test").spec.fingerprint == large.spec.fingerprint


def test_corrupt_images_met_on_access_are_masked(tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "MEMORY_BUDGET", 100)
    split_folders(tmp_path)
    (tmp_path / "test" / "dog" / "0.png").write_bytes(b"broken")
    source = open_source(f"folder:{tmp_path}", "test")
    with pytest.warns(UserWarning, match=r"1 corrupt images skipped so far: .*0\.png"):
        batches = list(evaluation_batches(source, 5))
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 0, 0]
    assert np.concatenate([batch["index"] for batch in batches])[4] == 4
    list(evaluation_batches(source, 5))  # warned once; a second warning would be an error here
    assert source.skipped == {4}


def test_decoding_uses_threads(tmp_path, monkeypatch):
    split_folders(tmp_path)
    source_module._threads.cache_clear()
    monkeypatch.setattr(source_module.os, "cpu_count", lambda: 8)
    spec = open_source(f"folder:{tmp_path}", "test").spec

    def slow(index):
        time.sleep(0.1)
        return np.full(spec.shape, index, np.uint8), index

    start = time.monotonic()
    batch = DecodedSource(slow, 8, spec, "error").batch(np.arange(8))
    assert time.monotonic() - start < 0.6
    assert batch["image"][:, 0, 0, 0].tolist() == batch["label"].tolist() == list(range(8))
    source_module._threads.cache_clear()


def no_classes(root):
    (root / "x.png").write_bytes(b"")


def empty_class(root):
    flat(root)
    (root / "eel").mkdir()


def missing_in_test(root):
    split_folders(root)
    write(root / "train" / "eel" / "0", 1)


def missing_in_train(root):
    split_folders(root, ("train", "test", "val"))
    write(root / "val" / "eel" / "0", 1)


def without_train(root):
    split_folders(root, ("test",))


def all_corrupt(root):
    for name in "ab":
        (root / name).mkdir()
        for index in range(3):
            (root / name / f"{index}.jpg").write_bytes(b"\xff\xd8\xff")


def one_each(root):
    flat(root, 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (no_classes, "has no class folders"),
        (empty_class, "class folder .*eel has no images"),
        (missing_in_test, "class folder 'eel' is missing in .*test"),
        (missing_in_train, "class folder 'eel' is missing in .*train"),
        (without_train, "has test but no train folder"),
        (all_corrupt, "not one of . images can be decoded"),
        (one_each, "no test split can be carved"),
    ],
)
def test_bad_folders_are_named_in_one_line(tmp_path, build, message):
    build(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        open_source(f"folder:{tmp_path}", "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["folder:", "folder:/no/such/place", "folder"])
def test_no_folder(text):
    with pytest.raises(ValueError, match="is not a folder"):
        open_source(text, "train")


def test_no_test_folder(tmp_path):
    split_folders(tmp_path, ("train",))
    assert len(open_source(f"folder:{tmp_path}", "train", validation=0)) == 8
    with pytest.raises(ValueError, match="has no test split"):
        open_source(f"folder:{tmp_path}", "test")
