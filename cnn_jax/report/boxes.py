"""Boxes drawn on a picture, each with a name, which lies where it covers no other."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import ArrayLike

from cnn_jax.report.figures import draw_example, short, written_size

EDGE = (0, 0, 0, 0.45)  # around lines, or yellow would be lost on white
COVERED = 0.3  # share of a name that may be covered by others; where it would be more, it is left out

Corners = tuple[float, float, float, float]  # left, top, right, bottom


def draw_boxes(
    ax: Axes,
    picture: np.ndarray,
    size: Sequence[int],
    boxes: ArrayLike,
    labels: Sequence[str],
    colours: Sequence[str],
    *,
    style: str = "-",
    fontsize: float = 9,
    linewidth: float = 1.6,
) -> int:
    """Draws a picture [h, w, C] with boxes [N, 4], the last one above all others, and what is written at each.

    The last names choose their places first; all lie within the picture, as far as they fit. Returns how many of them
    found no room and were left out.

    size: height and width in whose pixels the boxes are; the picture may be a smaller copy. labels: "" = nothing.
    style: of the lines, as matplotlib has them.
    """
    height, width = size[:2]
    draw_example(ax, picture)
    ax.images[-1].set_extent((0, width, height, 0))
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.apply_aspect()
    across, down = ax.bbox.width / width, ax.bbox.height / height  # dots of a pixel, before any layout
    dots, pad = ax.figure.dpi / 72, 1.0
    corners: list[Corners] = np.reshape(np.asarray(boxes, float), (-1, 4)).tolist()
    outline: list[AbstractPathEffect] = [withStroke(linewidth=linewidth + 1.2, foreground=EDGE)]
    for (left, top, right, bottom), colour in zip(corners, colours, strict=True):
        frame = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, lw=linewidth, ls=style)
        frame.set_path_effects(outline)
        ax.add_patch(frame)
    taken, left_out = list[Corners](), 0
    for corner, label, colour in reversed(list(zip(corners, labels, colours, strict=True))):
        if not label:
            continue
        text = short(label, 30)
        wide, tall = (dots * (length + 2 * pad) for length in written_size(text, fontsize))
        place = _room(corner, (wide / across, tall / down), (width, height), taken)
        if place is None:
            left_out += 1
            continue
        taken.append(place)
        ax.text(
            place[0] + pad * dots / across,
            (place[1] + place[3]) / 2,
            text,
            fontsize=fontsize,
            va="center_baseline",
            color="black" if np.dot(to_rgb(colour), (0.3, 0.6, 0.1)) > 0.4 else "white",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": pad, "alpha": 0.85},
            clip_on=True,
        )
    return left_out


def draw_masks(ax: Axes, boxes: ArrayLike, masks: np.ndarray, colours: Sequence[str]) -> None:
    """Tints what masks [N, M, M] in [0, 1] over boxes [N, 4] cover of a picture that `draw_boxes` has drawn."""
    limits = ax.get_xlim(), ax.get_ylim()
    for (left, top, right, bottom), mask, colour in zip(np.reshape(boxes, (-1, 4)), masks, colours, strict=True):
        tint = np.empty((*mask.shape, 4))
        tint[..., :3], tint[..., 3] = to_rgb(colour), 0.45 * np.clip(6 * (mask - 0.5) + 0.5, 0, 1)  # a soft edge at .5
        ax.imshow(tint, extent=(left, right, bottom, top), interpolation="bilinear", aspect="auto", zorder=0.5)
    ax.set(xlim=limits[0], ylim=limits[1])


def _room(
    box: Corners, size: tuple[float, float], picture: tuple[float, float], taken: list[Corners]
) -> Corners | None:
    """The place at a box where a name of `size` (width, height) covers least of others; None where that is too much.

    picture: width and height.
    """
    best, least = None, COVERED * size[0] * size[1]
    for x, y in _places(box, size):
        left, top = max(min(x, picture[0] - size[0]), 0.0), max(min(y, picture[1] - size[1]), 0.0)
        place = (left, top, left + size[0], top + size[1])
        covered = sum(_shared(place, other) for other in taken)
        if covered < least:
            best, least = place, covered
        if not covered:
            break
    return best


def _places(box: Corners, size: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Left and top of names at a box, the usual place first: above it, within it, below it, beside it."""
    left, top, right, bottom = box
    for y in (top - size[1], top, bottom - size[1], bottom, (top + bottom - size[1]) / 2):
        yield left, y
        yield right - size[0], y
    for y in (top, bottom - size[1]):
        yield right, y
        yield left - size[0], y


def _shared(a: Corners, b: Corners) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
