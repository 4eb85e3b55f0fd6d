"""What encloses objects in COCO's JSON, polygons and lengths of runs, and the pixels within.

The pixels are those of COCO's own program, pycocotools 2.0, to the last one: polygons are drawn on a grid five times as
fine, along their edges, and runs go down the columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FINER = 5  # of the grid that polygons are drawn on
LONGEST = 2.0**18  # pixels around a polygon at most, or it is not drawn
DIGITS = 7  # of 5 bits each, that a length of a run has at most: enough for 32 bits


class Runs(NamedTuple):
    """counts: lengths of runs of pixels, outside, inside, outside, ..., down the columns of a picture. size: [H, W]."""

    counts: NDArray[np.int64]
    size: tuple[int, int]


Polygons = tuple[NDArray[np.float64], ...]  # of points x, y each [k, 2], which together are one object
Region = Polygons | Runs


def read_region(value: object) -> Region:
    """What "segmentation" says in COCO's JSON: a list of polygons, x, y, x, y, ... each, or "counts" and "size".

    Raises ValueError for another thing, in words that go on from "segmentations".
    """
    if isinstance(value, dict):
        return _runs(value.get("counts"), value.get("size"))
    if value is None or value == []:
        raise ValueError("are missing")
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise ValueError("are neither a list of polygons nor counts and size")
    return tuple(_points(one) for one in value)


def inside(region: Region, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels [H, W] of a picture of that size within a region, all its polygons together.

    Raises ValueError for runs of another size.
    """
    if isinstance(region, Runs):
        if region.size != size:
            raise ValueError(f"runs of a picture {region.size} are not those of one {size}")
        within = np.arange(len(region.counts)) % 2 == 1
        return np.repeat(within, region.counts).reshape(size[::-1]).T
    found = np.zeros(size[::-1], bool)
    for points in region:
        _fill(found, points)
    return found.T


def _fill(found: NDArray[np.bool_], points: NDArray[np.float64]) -> None:
    """Marks the pixels [W, H] within one polygon: pycocotools' rleFrPoly, with all edges at once."""
    width, height = found.shape
    x, y = np.trunc(FINER * points + 0.5).astype(np.int64).T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    across, down = abs(next_x - x), abs(next_y - y)
    flat = across >= down
    # Each edge is walked along its longer side, from the lower to the higher end, but its points keep its direction.
    back = np.where(flat, x > next_x, y > next_y)
    start_x, start_y = np.where(back, next_x, x), np.where(back, next_y, y)
    end_x, end_y = np.where(back, x, next_x), np.where(back, y, next_y)
    steps = np.maximum(across, down)
    slope = np.where(flat, end_y - start_y, end_x - start_x) / np.maximum(steps, 1)

    edge = np.repeat(np.arange(len(x)), steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(back[edge], steps[edge] - step, step)
    along, beside = step, slope[edge] * step + 0.5
    u = np.where(flat[edge], along + start_x[edge], np.trunc(start_x[edge] + beside)).astype(np.int64)
    v = np.where(flat[edge], np.trunc(start_y[edge] + beside), along + start_y[edge]).astype(np.int64)

    # Where the boundary passes the middle of a column of pixels, what is inside begins or ends.
    passed = np.flatnonzero(u[1:] != u[:-1])
    columns = (np.minimum(u[passed], u[passed + 1]) + 0.5) / FINER - 0.5
    rows = (np.minimum(v[passed], v[passed + 1]) + 0.5) / FINER - 0.5
    middle = (columns == np.floor(columns)) & (columns >= 0) & (columns <= width - 1)
    if not middle.any():
        return
    columns = columns[middle].astype(np.int64)
    left, right = int(columns.min()), int(columns.max()) + 1
    places = (columns - left) * height + np.ceil(rows[middle].clip(0, height)).astype(np.int64)
    turns = np.bincount(places, minlength=(right - left) * height)[: (right - left) * height]
    found[left:right] |= (np.cumsum(turns) % 2 == 1).reshape(-1, height)


def _points(values: Sequence[object]) -> NDArray[np.float64]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise ValueError("have a polygon with what is no number")
    if len(values) % 2:
        raise ValueError("have a polygon of an odd number of coordinates")
    if len(values) < 6:
        raise ValueError("have a polygon of fewer than three points")
    try:
        points = np.array(values, np.float64).reshape(-1, 2)
    except OverflowError:
        raise ValueError("have a polygon with numbers that are not finite") from None
    with np.errstate(over="ignore", invalid="ignore"):
        length = abs(points - np.roll(points, -1, 0)).max(1).sum()
    if not np.isfinite(points).all():
        raise ValueError("have a polygon with numbers that are not finite")
    if not (length <= LONGEST and abs(points).max() <= LONGEST):
        raise ValueError(f"have a polygon that is longer than {LONGEST:,.0f} pixels or as far away")
    return points


def _runs(counts: object, size: object) -> Runs:
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n < 2**31 for n in size)):
        raise ValueError("are counts without a size of two whole numbers")
    if isinstance(counts, str):
        lengths = _lengths(counts)
    elif isinstance(counts, list) and all(type(n) is int and 0 <= n < 2**62 for n in counts):
        lengths = np.array(counts, np.int64)
    else:
        raise ValueError("have counts that are neither a text nor whole numbers from 0")
    if lengths.min(initial=0) < 0 or sum(lengths.tolist()) != size[0] * size[1]:
        raise ValueError("have counts that do not add up to their size")
    return Runs(lengths, (size[0], size[1]))


def _lengths(text: str) -> NDArray[np.int64]:
    """Lengths of runs from COCO's text, in which digits of 5 bits are letters and most numbers are differences."""
    letters = np.frombuffer(text.encode("latin-1", "replace"), np.uint8).astype(np.int64) - 48
    last = letters & 32 == 0
    if not len(letters) or not last[-1] or letters.min() < 0 or letters.max() > 63:
        raise ValueError("have counts that are no text of COCO's")
    starts = np.append(0, np.flatnonzero(last)[:-1] + 1)
    place = np.arange(len(letters)) - np.repeat(starts, np.diff(np.append(starts, len(letters))))
    if place.max() >= DIGITS:
        raise ValueError("have counts that are no text of COCO's")
    numbers = np.add.reduceat((letters & 31) << 5 * place, starts)
    numbers -= np.where(letters[last] & 16, np.int64(1) << 5 * (place[last] + 1), 0)  # below 0
    numbers[1::2], numbers[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
    return numbers
