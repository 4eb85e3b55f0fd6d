"""Pixels of one picture: cut, brought to a size, and padded."""

import math

import numpy as np
from PIL import Image

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
REACH = {"bilinear": 1, "bicubic": 2}  # pixels to each side that a filter weighs, more by as much as it makes smaller

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def resized(pixels: np.ndarray, size: tuple[int, int], interpolation: str, box: Box | None = None) -> np.ndarray:
    """The part `box` of pixels uint8 [H, W, C] (all of them by default) brought to `size` by an antialiased filter."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = box or (0, 0, width, height)
    if (left, top, right, bottom) == (0, 0, width, height) and (height, width) == size:
        return pixels
    # Pillow copies what it is given, so that is no more than the filter weighs.
    down, across = (
        math.ceil(REACH[interpolation] * max(part / length, 1))
        for part, length in zip((bottom - top, right - left), size, strict=True)
    )
    x, y = max(math.floor(left) - across, 0), max(math.floor(top) - down, 0)
    picture = as_picture(pixels[y : math.ceil(bottom) + down, x : math.ceil(right) + across])
    box = (left - x, top - y, right - x, bottom - y)
    return as_pixels(picture.resize(size[::-1], FILTERS[interpolation], box=box))


def sampled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels uint8 [H, W, C] brought to `size` as float32 in [0, 1], each between the two next ones of each axis.

    Nothing is smoothed where they become fewer. This is PyTorch's `interpolate(mode="bilinear")`: pixels are squares,
    whose centres are mapped to one another.
    """
    made = pixels.astype(np.float32) / 255
    for axis, (length, before) in enumerate(zip(size, pixels.shape, strict=False)):
        if length == before:
            continue
        place = np.float32(before / length) * (np.arange(length, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
        place = np.maximum(place, 0)
        low = np.minimum(place.astype(int), before - 1)
        share = (place - low).astype(np.float32).reshape(-1, *[1] * (made.ndim - 1 - axis))
        high = np.minimum(low + 1, before - 1)
        made = np.take(made, low, axis) * (1 - share) + np.take(made, high, axis) * share
    return made


def padded(pixels: np.ndarray, size: tuple[int, int], background: int, top: int = 0, left: int = 0) -> np.ndarray:
    """A picture [H, W, C] at (top, left) in a larger one, whose other pixels are opaque."""
    made = np.full((*size, pixels.shape[-1]), background, np.uint8)
    made[..., 3:] = 255
    made[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return made


def as_picture(pixels: np.ndarray) -> Image.Image:
    """Pixels uint8 [H, W, C] as Pillow's image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def as_pixels(picture: Image.Image) -> np.ndarray:
    """Pillow's image as pixels [H, W, C]."""
    return np.asarray(picture).reshape(picture.height, picture.width, -1)
