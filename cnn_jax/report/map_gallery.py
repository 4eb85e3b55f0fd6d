"""The layout of a gallery of maps: lines of four pictures each, in two columns of lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from cnn_jax.report.figures import DPI, ORANGE, draw_example, save
from cnn_jax.report.maps import legend_columns

PANELS = 4  # pictures of a line
SIDE, TOP, ABOVE, BETWEEN, MARGIN = 1.7, 0.5, 0.24, 0.06, 0.3  # inches: of a picture, and what is free
POINTS = 9  # of the legend's letters


class Line(NamedTuple):
    """An example as PANELS pictures, uint8 [h, w, 3] of one size, and what is written above each.

    The last of them shows what is wrong, and its title is orange.
    """

    titles: Sequence[str]
    pictures: Sequence[NDArray[np.uint8]]


def drawn_size(size: Sequence[int]) -> tuple[int, int]:
    """Height and width in which a picture of the size [H, W] is drawn."""
    scale = SIDE * DPI / max(size)
    return max(round(scale * size[0]), 1), max(round(scale * size[1]), 1)


def faint(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture [h, w, 3] in pale grey, on which marks are seen."""
    return (127 + picture.mean(-1, keepdims=True) / 2).astype(np.uint8)


def draw_lines(groups: Mapping[str, Sequence[Line]], entries: Sequence[Patch], path: Path) -> None:
    """Writes a column of lines for each of two groups, {what is written above: lines}, and a legend below."""
    lines = max(1, *map(len, groups.values()))
    shapes = np.array([line.pictures[0].shape for group in groups.values() for line in group] or [(1, 1, 3)])
    ratio = float(np.clip((shapes[:, 0] / shapes[:, 1]).max(), 0.25, 1.5))  # height for a width, with room for all
    wide, tall = SIDE * min(1, 1 / ratio), SIDE * min(1, ratio)
    wide = max(wide, SIDE * 0.7)  # room for a title

    # Placed by hand: a layout that looks for room takes longer than all that is drawn.
    half = PANELS * (wide + BETWEEN) + MARGIN
    columns = legend_columns(entries, len(groups) * half, POINTS)
    below = 0.24 * -(-len(entries) // columns) + 0.15
    whole = (MARGIN + len(groups) * half, TOP + lines * (tall + ABOVE + BETWEEN) + below)
    figure = Figure(figsize=whole)

    def axes(group: int, line: int, panel: int) -> Axes:
        left = MARGIN + group * half + panel * (wide + BETWEEN)
        bottom = whole[1] - TOP - line * (tall + ABOVE + BETWEEN) - ABOVE - tall
        return figure.add_axes((left / whole[0], bottom / whole[1], wide / whole[0], tall / whole[1]))

    for number, (said, group) in enumerate(groups.items()):
        middle = (MARGIN + number * half + PANELS / 2 * (wide + BETWEEN)) / whole[0]
        figure.text(
            middle, 1 - 0.2 / whole[1], said if group else "none has a score", ha="center", va="top", fontsize=12
        )
        for place, line in enumerate(group):
            for panel, (title, drawn) in enumerate(zip(line.titles, line.pictures, strict=True)):
                ax = axes(number, place, panel)
                draw_example(ax, drawn)
                ax.set_title(title, fontsize=8, pad=3, color=ORANGE if panel == PANELS - 1 else "black")
    figure.legend(handles=entries, loc="lower center", ncols=columns, fontsize=POINTS, frameon=False)
    save(figure, path)
