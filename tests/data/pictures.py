"""Pictures to read: made, encoded, resized by Pillow alone, and written into class folders."""

import io

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def gentle(height: int, width: int) -> np.ndarray:
    """A picture that changes by less than a grey level from pixel to pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + y / 3, 200 - x / 4, 128 + 30 * np.sin((x + y) / 40)], -1).round().astype(np.uint8)


def resize(pixels: np.ndarray, size: tuple[int, int], box=None, kind=Image.Resampling.BILINEAR) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], kind, box=box))


def write(path, value: int, size=(5, 4), form: str = "png"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path.with_suffix(f".{form}"))


def flat(root, count: int = 10, form: str = "png"):
    for label, name in enumerate(("cat", "dog")):
        for index in range(count):
            write(root / name / f"{index:02d}", 100 * label + index, form=form)
