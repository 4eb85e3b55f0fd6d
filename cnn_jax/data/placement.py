"""Where a picture lies in its example: moves boxes, points and maps from the one to the other and back."""

from typing import NamedTuple

import numpy as np


class Placement(NamedTuple):
    """Where a picture lies in its example: position in the example = position in the picture x scale + offset.

    Positions are [y, x] and count from the corner, so that pixel 0 reaches from 0 to 1. original: [H, W] of the upright
    picture; size: [H, W] of the example.
    """

    original: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


def as_vector(placement: Placement) -> np.ndarray:
    """A placement as the float32 [6] that a field of the role "placement" holds for each example."""
    return np.array([*placement.scale, *placement.offset, *placement.original], np.float32)


def placed(vector: np.ndarray, size: tuple[int, int]) -> Placement:
    """The inverse of `as_vector`, for an example of the size [H, W]; scale and offset are rounded to float32."""
    down, across, top, left, height, width = vector.tolist()
    return Placement((round(height), round(width)), size, (down, across), (top, left))


def to_original(boxes: np.ndarray, placement: Placement) -> np.ndarray:
    """Boxes [..., 4] (left, top, right, bottom) or points [..., 2] (x, y) of an example in the picture's own pixels.

    What lies outside the picture is moved to its border.
    """
    scale, offset = (np.resize(pair[::-1], boxes.shape[-1]) for pair in (placement.scale, placement.offset))
    return np.clip((boxes - offset) / scale, 0, np.resize(placement.original[::-1], boxes.shape[-1]))


def to_example(boxes: np.ndarray, placement: Placement) -> np.ndarray:
    """The inverse of `to_original`; what lies outside the example stays there."""
    scale, offset = (np.resize(pair[::-1], boxes.shape[-1]) for pair in (placement.scale, placement.offset))
    return boxes * scale + offset


def map_to_original(values: np.ndarray, placement: Placement, outside: int) -> np.ndarray:
    """A map [h, w, ...] over the example as one [H, W, ...] over the picture, by the nearest pixel.

    `outside` is the value of what the example does not show.
    """
    return _nearest(values, placement.original, placement.size, placement.scale, placement.offset, outside)


def map_to_example(values: np.ndarray, placement: Placement, outside: int) -> np.ndarray:
    """A map [H, W, ...] over the picture as one over the example; `outside` is what the example has beside it."""
    scale = tuple(1 / s for s in placement.scale)
    offset = tuple(-o / s for o, s in zip(placement.offset, placement.scale, strict=True))
    return _nearest(values, placement.size, placement.original, scale, offset, outside)


def _nearest(
    values: np.ndarray,
    out: tuple[int, int],
    within: tuple[int, int],
    scale: tuple[float, ...],
    offset: tuple[float, ...],
    outside: int,
) -> np.ndarray:
    """out[y, x] = values at (y, x) x scale + offset, in units of `within`, which `values` may have more or less of."""
    picked, inside = [], []
    for axis in (0, 1):
        position = (np.arange(out[axis]) + 0.5) * scale[axis] + offset[axis]
        inside.append((position >= 0) & (position < within[axis]))
        index = np.floor(position * values.shape[axis] / within[axis]).astype(int)
        picked.append(np.clip(index, 0, values.shape[axis] - 1))
    found = values[np.ix_(*picked)]
    found[~(inside[0][:, None] & inside[1])] = outside
    return found
