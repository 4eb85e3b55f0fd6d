"""Which folders are splits and classes, which files are pictures, and what a whole set decides."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import folder
from cnn_jax.data.files import read_example
from cnn_jax.data.source import note_absent_classes, opened
from cnn_jax.data.spec import from_json, to_json
from cnn_jax.lookup import lookup
from tests.data.reading import labels, read
from tests.data.test_folder import flat, pixels, split_folders, write

pytestmark = pytest.mark.filterwarnings("error", "ignore:.* it has no splits")


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("Training", "VAL", "testing"), ("TRAIN", "dev", "Test")]
)
def test_splits_by_any_of_their_names(tmp_path, names):
    split_folders(tmp_path, names)
    values = {split: pixels(source) for split, source in opened(lookup(f"folder:{tmp_path}"), validation=0.5).items()}
    base = [0, 1, 2, 3, 20, 21, 22, 23]
    assert values == {"train": base, "validation": [60 + b for b in base], "test": [120 + b for b in base]}


def test_a_class_may_be_called_like_a_split(tmp_path):
    for number, name in enumerate(("car", "plane", "train", "test")):
        for index in range(10):
            write(tmp_path / name / str(index), 20 * number + index)
    splits = opened(lookup(f"folder:{tmp_path}"))
    assert splits["train"].spec.classes == ("car", "plane", "test", "train")
    assert (len(splits["train"]), len(splits["test"])) == (32, 8)
    for index in range(10):
        write(tmp_path / "train" / "more" / str(index), 200 + index)
    assert len(opened(lookup(f"folder:{tmp_path}"))["train"]) == 40


def test_folders_below_a_class_count_for_it(tmp_path):
    flat(tmp_path, 3)
    for index in range(30):
        write(tmp_path / "cat" / "batch2" / f"more {index % 3}" / str(index), 50 + index)
    source = read(f"folder:{tmp_path}", "train", 0)
    assert len(source) + len(read(f"folder:{tmp_path}", "test")) == 36 and source.spec.classes == ("cat", "dog")
    assert np.bincount(labels(source)).tolist() == [26, 2]


def test_every_ending_of_a_picture_is_read(tmp_path):
    forms = {".jfif": "JPEG", ".JPE": "JPEG", ".avif": "AVIF", ".webp": "WEBP", ".TIF": "TIFF", ".jp2": "JPEG2000"}
    flat(tmp_path, 2)
    for number, (end, form) in enumerate({k: v for k, v in forms.items() if v in Image.SAVE}.items()):
        Image.fromarray(np.full((5, 4, 3), 100 + number, np.uint8)).save(tmp_path / "dog" / f"x{end}", format=form)
    splits = opened(lookup(f"folder:{tmp_path}"))
    assert sum(map(len, splits.values())) == 4 + number + 1 and number >= 4


def test_one_class_is_refused_with_a_hint_at_the_level(tmp_path):
    for index in range(3):
        write(tmp_path / "photos" / "cat" / str(index), index)
    with pytest.raises(ValueError, match="only one class folder, 'cat': give a folder of class folders"):
        opened(lookup(f"folder:{tmp_path / 'photos'}"))
    with pytest.raises(ValueError, match=r"only one class folder, 'photos': give a folder of class folders"):
        opened(lookup(f"folder:{tmp_path}"))
    write(tmp_path / "photos" / "dog" / "0", 9)
    with pytest.raises(ValueError, match=rf"only one class folder, 'photos': is it folder:{tmp_path}/photos\?"):
        opened(lookup(f"folder:{tmp_path}"))


def test_a_set_of_deep_images_has_one_white_which_prediction_takes_over(tmp_path):
    ends = {"cat": 3000, "dog": 1500}
    for split in ("train", "test"):
        for name, end in ends.items():
            (tmp_path / split / name).mkdir(parents=True)
            values = np.linspace(0, end + len(split), 30).reshape(5, 6).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / split / name / "0.png")
    with pytest.warns(
        UserWarning, match="2 of 2 .* not say which value is white, .*/0.png; taken to be 4095, as the great"
    ):
        source = read(f"folder:{tmp_path}", "train", 0, channels=1)
    assert source.spec.prepare.white == 4095
    expected = [np.linspace(0, end + 5, 30).astype(int) * 255 // 4095 for end in ends.values()]
    np.testing.assert_array_equal(source.arrays["image"].reshape(2, 30), expected)
    for row, name in enumerate(ends):
        found, _ = read_example(tmp_path / "train" / name / "0.png", from_json(to_json(source.spec)))
        np.testing.assert_array_equal(found, source.arrays["image"][row])
    plain = read(f"folder:{tmp_path}", "train", 0, channels=1, white=65535)
    assert plain.spec.prepare.white == 65535 and plain.arrays["image"].max() == 3005 // 257


def test_a_letter_with_an_accent_is_one_name_in_both_of_its_forms(tmp_path):
    one, other = "caf\u00e9", "cafe\u0301"
    for base, split, name in ((0, "train", one), (20, "test", other)):
        for index in range(3):
            write(tmp_path / split / name / str(index), base + index)
            write(tmp_path / split / "dog" / str(index), 100 + base + index)
    assert opened(lookup(f"folder:{tmp_path}"))["test"].spec.classes == (one, "dog")
    write(tmp_path / "train" / other / "0", 7)
    with pytest.raises(ValueError, match="shown by the same name"):
        opened(lookup(f"folder:{tmp_path}"))


def test_splits_by_names_of_their_own_are_not_taken_for_classes_in_silence(tmp_path):
    split_folders(tmp_path, ("train_set", "val_set", "test_set"))
    with pytest.warns(UserWarning, match="3 folders are taken for classes, as test_set and train_set, though all hold"):
        assert len(opened(lookup(f"folder:{tmp_path}"))["train"].spec.classes) == 3


def test_a_file_that_is_gone_by_now_costs_its_example_alone(tmp_path, monkeypatch):
    flat(tmp_path, 5)
    (tmp_path / "few").mkdir()
    write(tmp_path / "few" / "0", 200)
    real = folder.class_folders

    def listed(*args):
        found = real(*args)
        (tmp_path / "cat" / "03.png").unlink()
        return found

    monkeypatch.setattr(folder, "class_folders", listed)
    with pytest.warns(UserWarning) as caught:
        splits = opened(lookup(f"folder:{tmp_path}"))
        note_absent_classes(splits, "test")
    said = [str(warning.message) for warning in caught]
    assert any("03.png: cannot read the image (No such file or directory); corrupt='error'" in line for line in said)
    assert any(line.endswith("1 of 3 classes have no test example, as 'few'") for line in said)
    assert sum(map(len, splits.values())) == 10
