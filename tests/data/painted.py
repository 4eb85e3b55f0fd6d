"""Pictures whose objects are painted, so that where a box should be can be seen in the pixels; and their COCO JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnn_jax.data.images import ORIENTATION

Box = tuple[int, int, int, int]  # left, top, right, bottom


def painted(path: Path, size: tuple[int, int], boxes: Sequence[Box], turn: int = 0) -> None:
    """A black picture [H, W] with a red, a green and a blue box, and so on, stored so, and with EXIF's `turn`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((*size, 3), np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        pixels[top:bottom, left:right, number % 3] = 250
    exif = Image.Exif()
    if turn:
        exif[ORIENTATION] = turn
    Image.fromarray(pixels).save(path, exif=exif)


def seen(image: np.ndarray, number: int = 0) -> np.ndarray:
    """The box around what has one colour, the bars of a letterbox being white, to the nearest pixel."""
    mask = (image[..., number] > 125) & ~(image > 125).all(-1)
    down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([across[0], down[0], across[-1] + 1, down[-1] + 1])


def coco_json(
    path: Path,
    images: Mapping[str, tuple[int, int]],
    boxes: Sequence[tuple[int, int, Sequence[float]]],
    categories: Mapping[Any, str] | None = None,
) -> dict[str, Any]:
    """Writes COCO's JSON of images {file name: [H, W]}, with ids from 1, and boxes (image id, category id, x y w h)."""
    content: dict[str, Any] = {
        "images": [
            {"id": number, "file_name": name, "height": size[0], "width": size[1]}
            for number, (name, size) in enumerate(images.items(), 1)
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "area": box[2] * box[3],
             "iscrowd": 0}
            for number, (image, category, box) in enumerate(boxes, 1)
        ],
        "categories": [{"id": i, "name": name} for i, name in (categories or {1: "cat", 7: "dog"}).items()],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return content


def mask_set(
    root: Path, classes: np.ndarray, names: Sequence[str] = ("a", "b", "c", "d"), folders: str = "{}/{}"
) -> None:
    """Pictures of a class map [H, W], each class in a grey of its own, and the map as their masks, grey PNG."""
    for name in names:
        for folder, pixels in (("images", (60 * classes).astype(np.uint8)), ("masks", classes.astype(np.uint8))):
            file = root / folders.format(folder, f"{name}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
