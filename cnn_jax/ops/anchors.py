"""Where a detector's predictions stand on an image: anchors and points of a grid, as constants.

They are NumPy arrays, because shapes are known when a model is traced.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def base_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> Boxes:
    """Boxes [ratios * sizes, 4] around 0, in pixels, rounded to integers, halves to the even one, as torchvision does.

    Args:
      sizes: square roots of the areas.
      ratios: height over width; the outer of the two orders.
    """
    scale, ratio = np.asarray(sizes, np.float32), np.sqrt(np.asarray(ratios, np.float32))
    # In float32 like the original: which way a half is rounded depends on the last bit.
    widths = ((1 / ratio)[:, None] * scale).reshape(-1)
    heights = (ratio[:, None] * scale).reshape(-1)
    return np.round(np.stack([-widths, -heights, widths, heights], -1) / 2)


def grid_anchors(base: Boxes, grid: tuple[int, int], image: tuple[int, int]) -> Boxes:
    """`base` [K, 4] at each place of a feature map -> [rows * columns * K, 4], in pixels; K varies fastest.

    Args:
      base: from `base_anchors`.
      grid: rows and columns of the map.
      image: height and width that the map is of. The step is their whole quotient, not the power of 2 of the level, and
        the first place is at 0, not at half a step: torchvision's rule, on which its weights depend.
    """
    rows, columns = (
        np.arange(count, dtype=np.float32) * (size // count) for count, size in zip(grid, image, strict=True)
    )
    y, x = np.meshgrid(rows, columns, indexing="ij")
    shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (shifts + base).reshape(-1, 4)


def grid_points(grid: tuple[int, int], stride: float, offset: float = 0.5) -> NDArray[np.float32]:
    """Points (x, y) [rows * columns, 2] in pixels, `offset` of a stride from the corner of their cell."""
    rows, columns = ((np.arange(count, dtype=np.float32) + offset) * stride for count in grid)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def default_boxes(
    grids: Sequence[tuple[int, int]],
    scales: Sequence[float],
    ratios: Sequence[Sequence[float]],
    image: tuple[int, int],
    steps: Sequence[int] = (),
) -> Boxes:
    """The default boxes of SSD, all levels in one array [N, 4], in pixels (Liu et al. 2016, section 2.2).

    Of each place: the square of the level's scale, that of the mean with the next scale, and for each ratio r a box r
    times as wide as high, and one as high as wide. Sides are at most the image's; corners may lie outside.

    Args:
      grids: rows and columns of each level's map.
      scales: of each level and one more, in shares of the image.
      ratios: of each level, without 1.
      image: height and width.
      steps: pixels between places of each level; by default the image over the grid, without rounding.
    """
    height, width = image
    found = []
    for level, (rows, columns) in enumerate(grids):
        scale, between = scales[level], np.sqrt(scales[level] * scales[level + 1])
        sides = [(scale, scale), (between, between)]
        for ratio in ratios[level]:
            wide, narrow = scale * np.sqrt(ratio), scale / np.sqrt(ratio)
            sides += [(wide, narrow), (narrow, wide)]
        sizes = np.clip(np.asarray(sides, np.float32), 0, 1)
        down, right = (height / steps[level], width / steps[level]) if steps else (rows, columns)
        y, x = np.meshgrid((np.arange(rows) + 0.5) / down, (np.arange(columns) + 0.5) / right, indexing="ij")
        centres = np.stack([x, y], -1).reshape(-1, 1, 2).astype(np.float32)
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], -1)
        found.append((boxes * np.array([width, height, width, height], np.float32)).reshape(-1, 4))
    return np.concatenate(found).astype(np.float32)
