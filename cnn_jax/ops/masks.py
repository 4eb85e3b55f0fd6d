"""Masks that a detector gives as a small grid over each box, laid on the picture. NumPy: pictures differ in size."""

import numpy as np


def pasted(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each mask [K, M, M], in [0, 1], resized to its box [K, 4] on a picture of the size [H, W]: float32 [K, H, W].

    torchvision's rule: a border of one cell of 0 is added and the box enlarged with it, its corners are cut to whole
    pixels, the last of which is covered too, and the resizing is bilinear. The usual threshold is 0.5.

    Args:
      masks, boxes: of one picture; boxes in its pixels, as `prepare.to_original` gives them.
    """
    count, cells = masks.shape[:2]
    padded = np.pad(masks.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    middle, half = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5), (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5)
    half = half * np.float32((cells + 2) / cells)
    whole = np.concatenate([middle - half, middle + half], 1).astype(np.int64)  # towards 0
    found = np.zeros((count, *size), np.float32)
    for mask, box, out in zip(padded, whole, found, strict=True):
        low, sides = box[:2], np.maximum(box[2:] - box[:2] + 1, 1)
        first, last = np.maximum(low, 0), np.minimum(box[2:] + 1, size[::-1])
        (x, y), (right, bottom) = first, last
        if (last > first).all():
            down = _bilinear(cells + 2, int(sides[1]))[y - low[1] : bottom - low[1]]
            across = _bilinear(cells + 2, int(sides[0]))[x - low[0] : right - low[0]]
            out[y:bottom, x:right] = down @ mask @ across.T
    return found


def _bilinear(cells: int, length: int) -> np.ndarray:
    """What each of `length` pixels has of each of `cells`, whose centres lie evenly: [length, cells]."""
    places = np.maximum(
        (np.arange(length, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / length) - np.float32(0.5), 0
    )
    low = np.minimum(places.astype(int), cells - 1)
    part = places - low.astype(np.float32)
    weights = np.zeros((length, cells), np.float32)
    rows = np.arange(length)
    weights[rows, low] += 1 - part
    weights[rows, np.minimum(low + 1, cells - 1)] += part
    return weights
