"""masks:PATH: what its examples hold, in any way of storing masks, sizes and splits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.images import ORIENTATION, TURNS
from cnn_jax.data.placement import map_to_original, placed
from cnn_jax.data.source import Splits, buckets, in_memory, opened, skipped
from cnn_jax.data.spec import IGNORED
from cnn_jax.lookup import lookup
from tests.data.masked import (
    CLASSES,
    COLOURS,
    GONE,
    LINES,
    every,
    palette,
    save,
    smooth,
    text,
)
from tests.data.painted import mask_set


def test_grey_of_few_bits_is_not_spread(tmp_path):
    """PNG of 2 and 4 bits of grey, whose values Pillow spreads over 0 to 255, and of 1 bit."""
    import struct
    import zlib

    from cnn_jax.data.mask_files import read_mask

    def png(values: np.ndarray, bits: int) -> bytes:
        spread = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = [b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in spread]
        parts = [
            (b"IHDR", struct.pack(">IIBBBBB", *values.shape[::-1], bits, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"".join(rows))),
            (b"IEND", b""),
        ]
        chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    for bits in (1, 2, 4, 8):
        values = np.arange(24).reshape(4, 6) % 2**bits
        assert (read_mask(png(values, bits)).values == values).all(), bits


def source(root: Path, settings: str = "") -> Splits:
    return lookup(f"masks('{root}'{settings and ', '}{settings})")()


def test_ignored_pixels_and_bars_do_not_count(tmp_path):
    """255, a colour named "ignored", index 255 of a palette read by colours, and what a letterbox adds."""
    marked = CLASSES.copy()
    marked[0, :5] = 255
    mask_set(tmp_path, marked)
    found = source(tmp_path, "classes=('a', 'b', 'c'), size=16")["all"].batch(np.arange(2))
    back = map_to_original(found["class_map"][0], placed(found["placement"][0], (16, 16)), outside=9)
    assert (back == marked).all() and (found["class_map"][0] == IGNORED).sum() > 16 * 4
    colours = np.concatenate([COLOURS, np.zeros((252, 3), np.uint8), [[9, 9, 9]]]).astype(np.uint8)
    every(palette(marked, colours))(tmp_path)
    text("classes.txt", LINES)(tmp_path)
    assert (source(tmp_path)["all"].batch(np.arange(1))["class_map"][0] == marked).all()
    text("classes.txt", LINES + "ignored 9 9 9")(tmp_path)
    every(colours[marked])(tmp_path)
    assert (source(tmp_path)["all"].batch(np.arange(1))["class_map"][0] == marked).all()


@pytest.mark.parametrize(("ignore", "expected"), [("0", [IGNORED, 0, 1]), ("-1", None)])
def test_what_is_ignored_is_a_setting(tmp_path, ignore, expected):
    mask_set(tmp_path, CLASSES)
    if expected is None:
        save("masks/a.png", GONE)(tmp_path)
        with pytest.raises(ValueError, match="masks/a.png has the value 255 of no class"):
            source(tmp_path, "classes=('a', 'b', 'c'), ignore=-1")
        return
    found = source(tmp_path, f"class_ids=(1, 2), ignore={ignore}")["all"].batch(np.arange(1))["class_map"][0]
    assert (found == np.array(expected)[CLASSES]).all()


def test_a_threshold_makes_two_classes(tmp_path):
    mask_set(tmp_path, CLASSES)
    every(smooth())(tmp_path)
    made = source(tmp_path, "threshold=128")["all"]
    assert made.spec.classes == ("background", "foreground")
    assert (made.batch(np.arange(1))["class_map"][0] == (smooth() >= 128)).all()


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("stored", [True, False])
def test_masks_turn_with_their_picture(tmp_path, turn, stored):
    """A picture that EXIF turns, and its mask as it is stored, or as it is seen."""
    mask_set(tmp_path, CLASSES, "a")
    options = Image.Exif()
    options[ORIENTATION] = turn
    save("images/a.png", 60 * CLASSES, exif=options)(tmp_path)
    if not stored:
        save("masks/a.png", np.asarray(Image.fromarray(CLASSES).transpose(TURNS[turn])))(tmp_path)
    how = "stored" if stored else "upright"
    batch = source(tmp_path, f"channels=1, turned='{how}'")["all"].batch(np.arange(1))
    assert (batch["image"][0, ..., 0] == 60 * batch["class_map"][0]).all()


@pytest.mark.parametrize("folders", ["{1}/{0}s/{2}", "{0}s/{1}/{2}"])
def test_both_layouts_of_splits(tmp_path, folders):
    for split, names in (("train", "abc"), ("val", "d"), ("test", "ef")):
        for folder, pixels in (("image", 60 * CLASSES), ("mask", CLASSES)):
            for name in names:
                file = tmp_path / folders.format(folder, split, f"{name}.png")
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    splits = source(tmp_path)
    assert {split: len(found) for split, found in splits.items()} == {"train": 3, "validation": 1, "test": 2}


def sized(root: Path) -> None:
    """Pictures of three sizes."""
    mask_set(root, CLASSES, "ab")
    mask_set(root, np.tile(CLASSES, (5, 1)), "cd")
    mask_set(root, np.tile(CLASSES, (1, 5)), "ef")


def test_several_sizes_are_buckets_and_padding_scales_nothing(tmp_path):
    sized(tmp_path)
    padded = source(tmp_path, "channels=1, resize='pad'")["all"]
    assert padded.spec.input.shape == (64, 64, 1) and buckets(padded) is None
    for n, original in zip(
        range(6), [CLASSES] * 2 + [np.tile(CLASSES, (5, 1))] * 2 + [np.tile(CLASSES, (1, 5))] * 2, strict=True
    ):
        found, (height, width) = padded.batch(np.array([n])), original.shape
        assert (found["class_map"][0, :height, :width] == original).all()
        assert (found["image"][0, :height, :width, 0] == 60 * original).all()
        assert (found["class_map"][0] == IGNORED).sum() == 64 * 64 - original.size
    boxed = source(tmp_path, "channels=1, size=((32, 32), (64, 32), (32, 64)), resize='pad'")["all"]
    assert buckets(boxed).tolist() == [0, 0, 1, 1, 2, 2]
    assert boxed.batch(np.array([2, 3]))["class_map"].shape == (2, 64, 32)
    assert in_memory(boxed) is boxed


def test_splits_hold_each_class_and_reading_is_lazy(tmp_path, monkeypatch):
    """Large sets are decoded on access; a mask that is damaged after it was looked at is left out and said."""
    mask_set(tmp_path, np.minimum(CLASSES, 1), "abcdefgh")
    mask_set(tmp_path, CLASSES, "ijklmnop")
    monkeypatch.setattr("cnn_jax.data.decoded.HELD", 0)
    with pytest.warns(UserWarning, match="carved out as the test split"):
        splits = opened(lookup(f"masks('{tmp_path}', classes=('x', 'y', 'z'))"), validation=0.25)
    rare = [(split.batch(np.arange(len(split)))["class_map"] == 2).any((1, 2)).mean() for split in splits.values()]
    assert {name: len(split) for name, split in splits.items()} == {"train": 8, "test": 4, "validation": 4}
    assert all(0.3 < share < 0.7 for share in rare), rare
    settings = "classes=('x', 'y', 'z')"
    (tmp_path / "masks/a.png").write_bytes(b"")
    one = source(tmp_path, settings)["all"]
    monkeypatch.setattr(one, "held", None)
    assert len(one) == 15 and skipped({"all": one})["all"][0].startswith("masks/a.png: cannot decode")
    (tmp_path / "masks/b.png").write_bytes(b"")
    one.told = False
    with pytest.warns(UserWarning, match="images cannot be decoded .* as images/b.png: masks/b.png: cannot"):
        assert one.batch(np.arange(3))["valid"].tolist() == [0, 1, 1]
    (tmp_path / "masks/c.png").write_bytes((tmp_path / "images/c.png").read_bytes())
    with pytest.raises(ValueError, match="images/c.png has the value 60 in its mask, which is of no class"):
        one.batch(np.arange(3))
