"""An image file as an example: as much of it is decoded as its `ImagePrepare` needs."""

import math
from functools import partial

import numpy as np

from cnn_jax.data.images import decode_image, native_channels
from cnn_jax.data.keyed import random_box
from cnn_jax.data.placement import Placement
from cnn_jax.data.prepare import SAMPLED, ImagePrepare, fit

# A JPEG is decoded at this many times the size that is wanted, or more. Resizing that smaller copy of a photograph
# differs by 1 grey level on average, 2 at most, from resizing all of it; from a copy of the wanted size by 3 and 5.
MARGIN = 3


def read_image(data: bytes, prepare: ImagePrepare, key: int | None = None) -> tuple[np.ndarray, Placement]:
    """An image file held in memory as an example [H, W, C], and where the picture lies in it.

    With a key, and where `prepare` has a `random_area`, the example shows a random box of the picture.
    Raises CorruptImage for what is no image, a damaged one, or one that is too large; see `decode_image`.
    """
    pixels, full = pixels_of(data, prepare, key)
    return fit(pixels, prepare, key, full)


def pixels_of(data: bytes, prepare: ImagePrepare, key: int | None = None) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture of a file uint8 [H, W, C], or a smaller copy that its example is made of; and its full [H, W]."""
    channels = prepare.channels or native_channels(data)
    full_size = prepare.size is None or prepare.resize == "pad" or prepare.interpolation == SAMPLED
    least = None if full_size else partial(_least, prepare, key)
    return decode_image(data, channels, least, prepare.white, prepare.percentiles)


def full_for_boxes(full: tuple[int, int], prepare: ImagePrepare) -> bool:
    """Whether a picture [H, W] is decoded at full size whatever random box of it is wanted."""
    assert prepare.size is not None
    return any(have < 2 * MARGIN * of for have, of in zip(full, prepare.size, strict=True))


def _least(prepare: ImagePrepare, key: int | None, full: tuple[int, int]) -> tuple[int, int]:
    """The size below which a picture may not be decoded, so that resizing does to it what it would do to all of it."""
    if key is not None and prepare.random_area:
        assert prepare.size is not None
        if full_for_boxes(full, prepare):
            return full
        left, top, right, bottom = random_box(key, full, prepare.random_area, prepare.random_aspect)
        shares = (bottom - top) / full[0], (right - left) / full[1]
        height, width = (math.ceil(MARGIN * of / share) for of, share in zip(prepare.size, shares, strict=True))
        return height, width
    largest = (max(lengths) for lengths in zip(*prepare.all_sizes, strict=True))
    height, width = (math.ceil(MARGIN * length / prepare.crop) for length in largest)
    return height, width
