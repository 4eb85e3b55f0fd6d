"""A small map of classes, and masks of it in the ways that people store them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnn_jax.data.images import ORIENTATION

# Three classes in 8 x 12 pixels, with no symmetry
CLASSES = np.zeros((8, 12), np.uint8)
CLASSES[1:4, 2:7], CLASSES[5:7, 8:11] = 1, 2
COLOURS = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 90]], np.uint8)
LINES = "background 0 0 0\ncat 200 0 0\nbig dog 0 0 90\n"
NAMES = "background\ncat\nbig dog\n"


def save(name: str, pixels: np.ndarray | Image.Image, **options: Any) -> Callable[[Path], object]:
    """A picture in the place of another file; those of the same name but for the ending go."""

    def changed(root: Path) -> None:
        for file in (root / name).parent.glob(f"{Path(name).stem}.*"):
            file.unlink()
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(root / name, **options)

    return changed


def palette(pixels: np.ndarray, colours: np.ndarray = COLOURS) -> Image.Image:
    picture = Image.fromarray(pixels.astype(np.uint8), "P")
    picture.putpalette(colours.tobytes() + bytes(768 - colours.nbytes))
    return picture


def text(name: str, words: str | bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(words.encode() if isinstance(words, str) else words)


def every(pixels: np.ndarray | Image.Image, ending: str = "png", **options: Any) -> Callable[[Path], object]:
    """All masks alike."""
    return lambda root: [save(f"masks/{name}.{ending}", pixels, **options)(root) for name in "abcd"]


def both(*changes: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: [change(root) for change in changes]


def exif(turn: int, size: tuple[int, int] = (8, 12)) -> Callable[[Path], object]:
    found = Image.Exif()
    found[ORIENTATION] = turn
    return save("images/b.png", np.zeros((*size, 3), np.uint8), exif=found)


def smooth() -> np.ndarray:
    """A mask of 0 and 255 with smoothed edges."""
    return np.asarray(Image.fromarray(np.uint8(255) * (CLASSES > 0)).resize((48, 32), 2).resize((12, 8), 2))


FINE = np.where(CLASSES > 0, CLASSES, 0).astype(np.uint8)
WITH_7 = np.where(CLASSES == 2, 7, CLASSES).astype(np.uint8)
GONE = np.full_like(CLASSES, 255)
