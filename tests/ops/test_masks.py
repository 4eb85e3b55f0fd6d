"""Masks laid on pictures and cut out of them, against torchvision where it is installed, else against its numbers."""

import jax
import numpy as np
import pytest

from cnn_jax.ops.masks import cut, pasted

BOXES = np.array(
    [
        [2.3, 1.7, 9.6, 12.2],
        [-4, -3, 5, 30],  # beyond two borders
        [6, 6, 6, 6],  # no area: one pixel
        [10.9, 3, 19.2, 7.5],
        [40, 40, 50, 50],  # outside
    ],
    np.float32,
)
SIZE = (14, 20)


def masks() -> np.ndarray:
    return np.random.default_rng(0).random((len(BOXES), 6, 6), np.float32)


def test_pasted() -> None:
    found = pasted(masks(), BOXES, SIZE)
    assert found.shape == (5, *SIZE) and found.dtype == np.float32
    # of what torchvision's paste_masks_in_image gives: how much there is, and where it begins
    np.testing.assert_allclose(found.sum((1, 2)), [39.8349, 40.1306, 0.3334, 26.2885, 0], atol=1e-3)
    assert [np.argwhere(x).min(0).tolist() for x in found[:4]] == [[1, 2], [0, 0], [6, 6], [2, 10]]
    assert pasted(masks()[:0], BOXES[:0], SIZE).shape == (0, *SIZE)
    pytest.importorskip("torchvision")
    import torch
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    theirs = paste_masks_in_image(torch.tensor(masks())[:, None], torch.tensor(BOXES), SIZE)[:, 0]
    np.testing.assert_allclose(found, theirs, atol=1e-6)


def test_cut() -> None:
    draw = np.random.default_rng(0)
    instances = draw.integers(0, 3, (40, 50))
    boxes = np.array([[3.2, 4.7, 31, 38.5], [0, 0, 50, 40], [20, 20, 20.5, 20.2], [-5, 30, 12, 47]], np.float32)
    numbers = np.array([1, 2, 1, 2])
    found = jax.jit(cut, static_argnums=3)(instances, numbers, boxes, 7)
    for mask, number, (x0, y0, x1, y1) in zip(found, numbers, boxes, strict=True):
        np.testing.assert_allclose(mask, plain(instances == number, x0, y0, x1, y1, 7), atol=1e-5)
    ops, torch = pytest.importorskip("torchvision.ops"), pytest.importorskip("torch")
    maps = torch.tensor(np.stack([instances == number for number in numbers]).astype(np.float32))[:, None]
    rois = torch.tensor(np.concatenate([np.arange(4, dtype=np.float32)[:, None], boxes], 1))
    np.testing.assert_allclose(found, ops.roi_align(maps, rois, (7, 7), 1.0)[:, 0], atol=1e-5)


def plain(mask: np.ndarray, x0: float, y0: float, x1: float, y1: float, cells: int) -> np.ndarray:
    """Sample by sample: as many in each cell as it has pixels, rounded up."""
    height, width = mask.shape
    sides = max(y1 - y0, 1), max(x1 - x0, 1)
    rows, columns = (int(np.ceil(np.float32(side) / cells)) for side in sides)
    out = np.zeros((cells, cells))
    for i, j in np.ndindex(cells, cells):
        for k, m in np.ndindex(rows, columns):
            y, x = y0 + sides[0] * (i + (k + 0.5) / rows) / cells, x0 + sides[1] * (j + (m + 0.5) / columns) / cells
            if not (-1 <= y <= height and -1 <= x <= width):
                continue
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            a, b = int(y), int(x)
            c, d = min(a + 1, height - 1), min(b + 1, width - 1)
            top = mask[a, b] * (1 - (x - b)) + mask[a, d] * (x - b)
            bottom = mask[c, b] * (1 - (x - b)) + mask[c, d] * (x - b)
            out[i, j] += (top * (1 - (y - a)) + bottom * (y - a)) / (rows * columns)
    return out
