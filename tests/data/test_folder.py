import re
import time

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import access, decoded
from cnn_jax.data import source as source_module
from cnn_jax.data import splits as splits_module
from cnn_jax.data.access import DecodedSource
from cnn_jax.data.batches import evaluation_batches
from cnn_jax.data.source import ArraySource, View, in_memory, opened, origin, skipped
from cnn_jax.data.spec import INDEX, VALID
from cnn_jax.lookup import lookup
from tests.data.pictures import flat, write
from tests.data.reading import image, labels, read


def split_folders(root, names=("train", "test"), classes=("cat", "dog")):
    for split, folder in enumerate(names):
        for label, name in enumerate(classes):
            for index in range(4):
                write(root / folder / name / str(index), 60 * split + 20 * label + index)


def pixels(source) -> list[int]:
    return sorted(source.batch(np.arange(len(source)))["image"][:, 0, 0, 0].tolist())


pytestmark = pytest.mark.usefixtures("no_warnings")


def test_flat_folder_is_split_for_good(tmp_path):
    flat(tmp_path)
    parts = {split: read(f"folder:{tmp_path}", split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 14, "validation": 2, "test": 4}
    assert sorted(sum((pixels(part) for part in parts.values()), [])) == [*range(10), *range(100, 110)]
    assert np.bincount(labels(parts["test"])).tolist() == [2, 2]
    spec = parts["train"].spec
    assert (spec.classes, spec.input.shape, spec.input.dtype) == (("cat", "dog"), (5, 4, 3), "uint8")
    test = pixels(parts["test"])
    write(tmp_path / "ant" / "0", 200)
    write(tmp_path / "ant" / "1", 200)
    again = read(f"folder:{tmp_path}", "test")
    assert pixels(again)[:4] == test and again.spec.fingerprint != spec.fingerprint
    for part in parts.values():
        assert isinstance(part, ArraySource)
        for i in range(len(part)):
            assert part.arrays["label"][i] == part.arrays["image"][i].max() // 100


def test_fingerprint_covers_names(tmp_path):
    flat(tmp_path)
    before = read(f"folder:{tmp_path}", "test").spec.fingerprint
    (tmp_path / "dog" / "09.png").rename(tmp_path / "dog" / "99.png")
    assert read(f"folder:{tmp_path}", "test").spec.fingerprint != before


@pytest.mark.parametrize("held_out", ["validation", "val"])
def test_split_folders(tmp_path, held_out):
    split_folders(tmp_path, ("train", "test", held_out))
    values = {split: pixels(read(f"folder:{tmp_path}", split)) for split in ("train", "test", "validation")}
    base = [0, 1, 2, 3, 20, 21, 22, 23]
    assert values == {"train": base, "test": [60 + b for b in base], "validation": [120 + b for b in base]}


def test_statistics_are_of_train(tmp_path):
    split_folders(tmp_path)
    spec = read(f"folder:{tmp_path}", "test").spec
    values = np.array([0, 1, 2, 3, 20, 21, 22, 23]) / 255
    np.testing.assert_allclose(spec.prepare.mean, [values.mean()] * 3)
    np.testing.assert_allclose(spec.prepare.std, [values.std()] * 3)


def test_sizes_channels_and_formats_mix(tmp_path):
    flat(tmp_path, 5)
    write(tmp_path / "cat" / "wide", 50, size=(9, 20), form="jpg")
    Image.new("L", (7, 7), 30).save(tmp_path / "dog" / "grey.PNG")
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    with pytest.warns(UserWarning) as caught:
        source = read(f"folder:{tmp_path}", "train", 0, size=6, channels=1)
    said = [str(warning.message).partition(": ")[2] for warning in caught]
    assert said[:2] == [
        "left out 2 hidden files and folders, as .cache",
        "left out 1 files whose names do not end as a picture's, as dog/notes.txt",
    ]
    test = read(f"folder:{tmp_path}", "test", size=6, channels=1)
    assert len(source) + len(test) == 12 and source.spec.input.shape == (6, 6, 1)
    with pytest.raises(ValueError, match="give the source a size, as --config.data.source='folder.*, size=64"):
        for split in ("train", "test"):
            read(f"folder:{tmp_path}", split, 0)


def test_images_are_brought_to_size_by_the_filter_asked_for(tmp_path):
    split_folders(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "test" / "cat" / "0.png")
    source = read(f"folder:{tmp_path}", "test", size=5, interpolation="bicubic")
    expected = np.asarray(Image.fromarray(noise).resize((5, 5), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(image(source, 0), expected)


def test_corrupt_images_are_skipped_and_counted(tmp_path):
    split_folders(tmp_path)
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"broken")
    good = (tmp_path / "train" / "dog" / "2.png").read_bytes()
    (tmp_path / "train" / "dog" / "2.png").write_bytes(good[: len(good) // 2])
    with pytest.warns(
        UserWarning, match=r": 2 of 16 images looked at cannot be decoded .*1\.png: cannot decode"
    ) as caught:
        splits = opened(lookup(f"folder:{tmp_path}"))
        source = in_memory(splits["train"])
        in_memory(splits["test"])
    assert len(caught) == 1  # once for all that reads them
    found = skipped(splits)
    assert [re.search(r"train/.*png", reason)[0] for reason in found.pop("train")] == [
        "train/cat/1.png",
        "train/dog/2.png",
    ]
    assert not found
    assert pixels(source) == [0, 2, 3, 20, 21, 23]
    np.testing.assert_allclose(source.spec.prepare.mean[0], np.mean([0, 2, 3, 20, 21, 23]) / 255)
    with pytest.raises(ValueError, match=r"(1|2)\.png: cannot decode the image") as error:
        read(f"folder:{tmp_path}", "train", 0, corrupt="error")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_large_split_of_which_nothing_can_be_decoded_is_refused(tmp_path, monkeypatch, split):
    monkeypatch.setattr(decoded, "SAMPLE", 5)
    monkeypatch.setattr(decoded, "BESIDE", 5)
    split_folders(tmp_path)
    for file in (tmp_path / split).glob("*/*"):
        file.write_bytes(b"broken")
    with pytest.raises(ValueError, match=rf"not one of 5 images can be decoded, as .*/{split}/.*: cannot decode"):
        read(f"folder:{tmp_path}", "train", 0, size=4)


def test_what_is_known_to_be_corrupt_is_no_example(tmp_path):
    flat(tmp_path, 10)
    for index in range(8):
        (tmp_path / "dog" / f"{index:02d}.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=": 8 of 20 images looked at cannot be decoded"):
        splits = opened(lookup(f"folder:{tmp_path}"), validation=0.2)
    sizes = {split: np.bincount(labels(in_memory(source))).tolist() for split, source in splits.items()}
    assert sizes == {"train": [6, 1], "validation": [2], "test": [2, 1]}  # those that are left are carved
    assert len(skipped(splits)["train"]) == 8 and skipped(splits).keys() == {"train"}
    for index in range(10):
        (tmp_path / "dog" / f"{index:02d}.png").write_bytes(b"broken")
    with pytest.warns(UserWarning) as caught:
        opened(lookup(f"folder:{tmp_path}"))
    assert str(caught[-1].message).endswith("1 of 2 classes have no training example, as 'dog'")


def test_large_folders_are_decoded_on_access(tmp_path, monkeypatch):
    flat(tmp_path, 20)
    small = read(f"folder:{tmp_path}", "train")
    monkeypatch.setattr(source_module, "MEMORY_BUDGET", 100)
    monkeypatch.setattr(decoded, "SAMPLE", 30)
    monkeypatch.setattr(splits_module, "HASHED_BYTES", 100)
    large = read(f"folder:{tmp_path}", "train")
    base, indices = origin(large)
    assert isinstance(large, View) and isinstance(base, DecodedSource) and base.held is None
    assert sorted(base.batch(indices)["image"][:, 0, 0, 0].tolist()) == pixels(small)
    everything = np.arange(len(small))
    for key in ("image", "label"):
        np.testing.assert_array_equal(large.batch(everything)[key], small.batch(everything)[key])
    np.testing.assert_array_equal(large.strata(), small.strata())
    assert large.spec.fingerprint != small.spec.fingerprint
    for file in (tmp_path / "cat").iterdir():
        file.touch()  # neither times nor order of the folder count
    assert read(f"folder:{tmp_path}", "test").spec.fingerprint == large.spec.fingerprint


def test_corrupt_images_met_on_access_are_not_valid(tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "MEMORY_BUDGET", 100)
    monkeypatch.setattr(decoded, "SAMPLE", 7)
    monkeypatch.setattr(decoded, "BESIDE", 0)  # so that opening meets none of test
    split_folders(tmp_path)
    for name in ("0", "1"):
        (tmp_path / "test" / "dog" / f"{name}.png").write_bytes(b"broken")
    source = read(f"folder:{tmp_path}", "test")
    with pytest.warns(UserWarning, match=r"1 of 8 images cannot be decoded \(up to now\) .*0\.png") as caught:
        batches = list(evaluation_batches(source, 5))
    assert len(caught) == 1
    valid = np.concatenate([batch[VALID] for batch in batches])
    assert valid.tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 0, 0]
    assert np.concatenate([batch[INDEX] for batch in batches])[4] == 4
    assert not batches[0]["image"][4].any()
    list(evaluation_batches(source, 5))  # warned once; a second warning would be an error here
    assert source.skipped.keys() == {4, 5} and "dog/1.png" in skipped({"test": source})["test"][1]


def test_decoding_uses_threads(tmp_path, monkeypatch):
    split_folders(tmp_path)
    access.threads.cache_clear()
    monkeypatch.setattr(access, "cores", lambda: 8)
    spec = read(f"folder:{tmp_path}", "test").spec

    def slow(index, key):
        time.sleep(0.1)
        return {"image": np.full(spec.input.shape, index, np.uint8), "label": np.asarray(index)}

    start = time.monotonic()
    batch = DecodedSource(slow, 8, spec, "error").batch(np.arange(8))
    assert time.monotonic() - start < 0.6
    assert batch["image"][:, 0, 0, 0].tolist() == batch["label"].tolist() == list(range(8))
    access.threads.cache_clear()


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
        (all_corrupt, "not one of . images can be decoded"),
        (one_each, "no test split can be carved"),
    ],
)
def test_bad_folders_are_named_in_one_line(tmp_path, build, message):
    build(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        opened(lookup(f"folder:{tmp_path}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder('')", "a path or name is empty"),
        ("folder:/no/such/place", "is not a folder"),
        ("folder", "cannot be opened: missing a required argument: 'path'"),
        ("folder:", "not a function's name"),
    ],
)
def test_no_folder(text, message):
    with pytest.raises(ValueError, match=message):
        opened(lookup(text))


def test_no_test_folder(tmp_path):
    split_folders(tmp_path, ("train",))
    assert len(read(f"folder:{tmp_path}", "train", 0)) == 8
    with pytest.raises(ValueError, match="has no test split"):
        read(f"folder:{tmp_path}", "test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corrupt": "ignore"}, "corrupt must be 'skip' or 'error', not 'ignore'"),
        ({"channels": 2}, "channels must be 1, 3 or 4"),
        ({"size": "64"}, "size must be a height and a width"),
        ({"size": True}, "size must be a height and a width"),
        ({"resize": "zoom"}, "resize must be"),
        ({"random_area": (0.1, 1.0)}, "random_area needs a size"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, settings, message):
    flat(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read(f"folder:{tmp_path}", "train", **settings)
    assert "\n" not in str(caught.value)


def test_the_settings_of_images_arrive(tmp_path):
    split_folders(tmp_path)
    settings = dict(size=(6, 9), resize="letterbox", crop=0.9, interpolation="bicubic", channels=4)
    with pytest.warns(UserWarning, match="channels have one value in all of train, as channel 3"):
        prepare = read(f"folder:{tmp_path}", "train", **settings).spec.prepare
    settings["size"] = (6, 9)
    assert {name: getattr(prepare, name) for name in settings} == settings
    assert read(f"folder:{tmp_path}", "train", **settings).spec.input.shape == (6, 9, 4)
    assert prepare.white is None and read(f"folder:{tmp_path}", "train", white=4095).spec.prepare.white == 4095
    drawn = read(f"folder:{tmp_path}", "train", size=5, random_area=(0.2, 0.6), random_aspect=(1.0, 1.0)).spec.prepare
    assert (drawn.random_area, drawn.random_aspect) == ((0.2, 0.6), (1.0, 1.0))
