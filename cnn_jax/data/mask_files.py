"""Files of masks: the number or the colour that each pixel has, and how often there is which."""

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data.images import CorruptImage, stored_values

COLOUR = 2**24  # a colour is this + 65536 red + 256 green + blue, what is less is a number
GREY = 0x010101  # of which the colours that are grey are multiples
KEPT = 1024  # values of a mask, the most frequent ones, that are counted

Values = NDArray[np.uint32]


class Mask(NamedTuple):
    """values: [H, W] numbers, or COLOUR + colours; upright. words: what else is true of it, of SAID."""

    values: Values
    words: frozenset[str] = frozenset()


# What is said of masks.
SAID = {
    "transparent": "masks are transparent in places: the values below count, as if they were opaque",
    "jpeg": "masks are JPEG, which changes values: store them as PNG",
    "several": "masks hold several pictures, of which the first is read",
}


def read_mask(data: bytes, *, by_colour: bool = False, ignored: int = -1) -> Mask:
    """A mask file held in memory.

    A palette is read by its numbers, grey by its values, of 16 bits too, and one in colours by these, but as numbers
    where it is grey. by_colour: all by their colours, but for a number `ignored` of a palette.

    Raises CorruptImage for what is no picture, a damaged one, or one of other values.
    """
    picture = stored_values(data)
    words = {"jpeg"} if data[:2] == b"\xff\xd8" else set[str]()
    with suppress(Exception):
        if getattr(picture, "is_animated", False):
            words.add("several")
    mode = picture.mode
    if mode in ("LA", "PA", "RGBA") and picture.getextrema()[-1] != (255, 255):
        words.add("transparent")
    if mode in ("P", "PA"):
        values = np.asarray(picture if mode == "P" else picture.getchannel("P")).astype(np.uint32)
        if by_colour:
            values = np.where(values == ignored, values, _palette(picture)[values])
    elif mode in ("1", "L", "LA") or mode.startswith("I"):
        values = _grey(picture, data)
        if by_colour:
            values = np.where(values < 256, COLOUR + values * GREY, values)
    elif mode in ("RGB", "RGBA", "RGBX"):
        red, green, blue = (np.asarray(picture.getchannel(band)) for band in "RGB")
        values = (red.astype(np.uint32) << 16) + (green.astype(np.uint32) << 8) + blue
        grey = (red == green) & (green == blue) & (not by_colour)
        values = np.where(grey, red, COLOUR + values)
    else:
        kind = "floating-point numbers" if mode == "F" else f"the colour space {mode}"
        raise CorruptImage(f"{kind} in a mask: store whole numbers, as PNG of 8 or 16 bits")
    return Mask(values.astype(np.uint32, copy=False), frozenset(words))


def _palette(picture: Image.Image) -> Values:
    """The colours [256] of a palette."""
    known = np.array(picture.getpalette("RGB") or [], np.uint32).reshape(-1, 3)
    colours = np.zeros((256, 3), np.uint32)
    colours[: len(known)] = known
    made: Values = COLOUR + colours @ np.array([65536, 256, 1], np.uint32)
    return made


def _grey(picture: Image.Image, data: bytes) -> Values:
    values = np.asarray(picture.getchannel("L") if picture.mode == "LA" else picture)
    if values.min() < 0 or values.max() >= 2**16:
        raise CorruptImage(f"values from {values.min()} to {values.max()} in a mask: store them as PNG of 16 bits")
    # Pillow spreads the values of 2 and 4 bits over 0 to 255.
    bits = data[24] if data[:4] == b"\x89PNG" and data[25] == 0 else 8
    step = 255 // (2**bits - 1) if bits in (2, 4) else 1
    return values.astype(np.uint32) // np.uint32(step)


def count(values: Values) -> dict[int, int]:
    """{value: pixels}, of the KEPT most frequent values."""
    begin, lengths = _runs(values)
    found, which = np.unique(values.ravel()[begin], return_inverse=True)
    pixels = np.bincount(which, lengths).astype(int)
    most = np.sort(np.argsort(-pixels, kind="stable")[:KEPT])
    return dict(zip(found[most].tolist(), pixels[most].tolist(), strict=True))


def replaced(values: Values, table: Mapping[int, int], other: int) -> NDArray[np.uint8]:
    """Values [H, W] as those of a table, uint8, with `other` for what is not in it."""
    keys, given = np.array(sorted(table), np.uint32), np.array([table[key] for key in sorted(table)], np.uint8)
    begin, lengths = _runs(values)
    first = values.ravel()[begin]
    place = np.minimum(np.searchsorted(keys, first), len(keys) - 1)
    made = np.where(keys[place] == first, given[place], np.uint8(other))
    return np.repeat(made, lengths).reshape(values.shape)


def _runs(values: Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where neighbours of one value begin, and how many they are: far fewer than pixels in most masks."""
    flat = values.ravel()
    begin = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return begin, np.diff(begin, append=flat.size)


def shown(value: int) -> str:
    """A value as people write it: 7, or the colour 128 0 0."""
    if value < COLOUR:
        return str(value)
    return " ".join(str((value - COLOUR) >> shift & 255) for shift in (16, 8, 0))
