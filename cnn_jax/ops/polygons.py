"""Polygons over a picture: which pixels they cover, which of them are the same object, and the map they make. NumPy.

A polygon is its corners (x, y) [N, 2] in pixels, counted from the picture's corner, so that pixel (0, 0) has its centre
at (.5, .5). It covers the pixels whose centres are in it: an odd number of its edges lies left of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.ops.rays import directions

OVERLAP = 0.4  # share of the smaller one of two polygons from which on they are one object, as StarDist has it

Polygons = NDArray[np.float64]


def stars(centres: NDArray, lengths: NDArray) -> Polygons:
    """The polygons [M, R, 2] around centres (x, y) [M, 2] of which rays have these lengths [M, R]."""
    return centres[:, None].astype(np.float64) + lengths[..., None] * directions(lengths.shape[-1])


class Cover(NamedTuple):
    """The pixels that a polygon covers: a mask [h, w], of which pixel (0, 0) is row `top` and column `left`."""

    top: int
    left: int
    mask: NDArray[np.bool_]

    @property
    def place(self) -> tuple[slice, slice]:
        """Where the mask lies in the picture."""
        return slice(self.top, self.top + self.mask.shape[0]), slice(self.left, self.left + self.mask.shape[1])


def cover(polygon: NDArray, size: tuple[int, int]) -> Cover:
    """What a polygon [N, 2] covers of a picture of the size [H, W]."""
    low, high = polygon.min(0), polygon.max(0)
    ends = np.clip([np.floor(low), np.ceil(high)], 0, size[::-1]).astype(int)
    (left, top), (right, bottom) = ends.tolist()
    rows, columns = np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5
    start, end = polygon, np.roll(polygon, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges, which no row crosses
        slopes = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
        crossed = start[:, :1] + (rows - start[:, 1:]) * slopes[:, None]  # [N, h]: x of each edge at each row
    there = (start[:, 1:] <= rows) != (end[:, 1:] <= rows)
    left_of = np.where(there, crossed, np.inf)[..., None] <= columns  # [N, h, w]
    return Cover(top, left, left_of.sum(0) % 2 == 1)


def distinct(polygons: Sequence[NDArray] | Polygons, size: tuple[int, int]) -> NDArray[np.int64]:
    """Which polygons, of the surest first, are objects of their own: non-maximum suppression by area.

    One is left out that covers no pixel, or shares more than OVERLAP of its pixels, or of those of a surer one that
    stays, with that one.
    """
    kept, covers = list[int](), list[Cover]()
    for number, polygon in enumerate(polygons):
        found = cover(polygon, size)
        area = int(found.mask.sum())
        if area and not any(_shared(found, one) > OVERLAP * min(area, int(one.mask.sum())) for one in covers):
            kept.append(number)
            covers.append(found)
    return np.array(kept, np.int64)


def _shared(a: Cover, b: Cover) -> int:
    """How many pixels two have in common."""
    top, left = max(a.top, b.top), max(a.left, b.left)
    bottom, right = (min(ends) for ends in zip(_ends(a), _ends(b), strict=True))
    if bottom <= top or right <= left:
        return 0
    first, second = (
        one.mask[top - one.top : bottom - one.top, left - one.left : right - one.left] for one in (a, b)
    )  # fmt: skip
    return int((first & second).sum())


def _ends(one: Cover) -> tuple[int, int]:
    return one.top + one.mask.shape[0], one.left + one.mask.shape[1]


def painted(polygons: Sequence[NDArray] | Polygons, size: tuple[int, int]) -> NDArray[np.int32]:
    """The map [H, W] of polygons, of the surest first: 1 + the place of the first that covers a pixel, 0 for none."""
    found = np.zeros(size, np.int32)
    for number, polygon in enumerate(polygons, 1):
        one = cover(polygon, size)
        part = found[one.place]
        part[one.mask & (part == 0)] = number
    return found
