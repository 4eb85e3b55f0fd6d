"""Maps of classes or of objects laid over a picture, with contours, and the legend of their colours."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data.spec import BACKGROUND, IGNORED
from cnn_jax.report.colours import palette
from cnn_jax.report.figures import DPI, GREY, lettered, short, written_size

OPACITY, VEIL = 115, 160  # of 255: of a class's colour, and of the white over what does not count
MASK = "mask"  # what tables call the file of a map
SIDE = 480  # pixels of the longer side of a drawn picture, at least
MARGIN = 12  # pixels around a drawn picture
COMPRESSION = 3  # of 9: beyond, large pictures take twice the time to save a few percent of their bytes
ROWS = 256  # of a picture that are worked on at once, which bounds the memory of a large one


def draw_map(
    picture: NDArray[Any], values: NDArray[Any], tints: NDArray[np.uint8], entries: Sequence[Patch], path: Path
) -> None:
    """Writes a picture [h, w, C] under a map [H, W], with contours, pixel by pixel; beside it `entries` of a legend.

    One that is smaller than half of SIDE is drawn with several pixels for each of its own. tints: as `overlaid` has it.
    """
    height, width = picture.shape[:2]
    times = max(1, SIDE // max(height, width))
    tall, wide = times * height, times * width
    scale = float(np.clip(min(tall, wide) / 450, 1, 2))  # of what is written, to be read where all of it is seen
    drawn = overlaid(*fitted(picture, values, (tall, wide)), tints, contour=round(2 * scale))

    line, margin = 9 * scale * DPI / 72 * 1.5, round(MARGIN * scale)  # pixels: of an entry, and around all
    legend = legend_picture(entries, max(int(tall / line), 16), 9 * scale)
    # Put together here: drawing a large picture once more, as part of a figure, takes several times longer.
    size = (max(tall, legend.shape[0]) + 2 * margin, wide + legend.shape[1] + 3 * margin, 3)
    whole = np.full(size, 255, np.uint8)
    whole[margin:][:tall, margin:][:, :wide] = drawn
    whole[margin:][: legend.shape[0], wide + 2 * margin :][:, : legend.shape[1]] = legend
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole).save(path, compress_level=COMPRESSION)


def fitted(
    picture: NDArray[Any], values: NDArray[Any], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """A picture [h, w, C] and a map over it, of any size, as RGB [H, W, 3] and a map [H, W]: `size` is H, W."""
    shown = Image.fromarray(as_rgb(picture))
    if shown.size != size[::-1]:
        grows = size[0] >= shown.height
        shown = shown.resize(size[::-1], Image.Resampling.NEAREST if grows else Image.Resampling.BOX)
    down, across = ((2 * np.arange(n) + 1) * of // (2 * n) for n, of in zip(size, values.shape, strict=True))
    return np.asarray(shown), values[np.ix_(down, across)]


def overlaid(picture: NDArray[Any], values: NDArray[Any], tints: NDArray[np.uint8], contour: int = 1) -> NDArray[Any]:
    """A picture [h, w, C] under a map [h, w] of whole numbers, as uint8 RGB [h, w, 3].

    tints: [N, 4] colour and opacity of each number. contour: pixels at the border of an area that have its full colour.
    """
    found = as_rgb(picture)
    for start in range(0, len(found), ROWS):
        rows = slice(start, start + ROWS)
        around = slice(max(start - contour, 0), start + ROWS + contour)
        border = borders(values[around], contour)[start - around.start :][:ROWS]
        tint = tints[values[rows]].astype(np.uint16)
        share = tint[..., 3:]
        share[border & (share[..., 0] > 0)] = 255
        found[rows] = (found[rows] * (255 - share) + tint[..., :3] * share + 127) // 255
    return found


def borders(values: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Where a map [h, w] has another value within `width` pixels above, below or beside; bool [h, w]."""
    found = np.zeros(values.shape, bool)
    for shift in range(1, width + 1):
        for out, one in ((found, values), (found.T, values.T)):
            other = one[shift:] != one[:-shift]
            out[shift:] |= other
            out[:-shift] |= other
    return found


def as_rgb(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """A picture [h, w, C] of bytes, or of floats, as a copy uint8 [h, w, 3]: grey unless C is 3 or 4."""
    shown = picture if picture.shape[-1] in (3, 4) else picture.mean(-1, keepdims=True)
    if picture.dtype != np.uint8 and picture.shape[-1] in (3, 4):
        shown = 255 * np.clip(shown, 0, 1)
    elif picture.dtype != np.uint8:  # in units of its own
        shown = 255 * (shown - shown.min()) / max(float(np.ptp(shown)), 1e-12)
    if shown.shape[-1] == 4:
        share = shown[..., 3:] / 255
        shown = shown[..., :3] * share + 255 * (1 - share)
    return np.broadcast_to(shown.round() if shown.dtype.kind == "f" else shown, (*shown.shape[:2], 3)).astype(np.uint8)


def tints_of(classes: Sequence[str], shown: Collection[int] | None = None) -> NDArray[np.uint8]:
    """Colour and opacity [256, 4] of the classes, by their numbers: none for the background, white for IGNORED.

    shown: numbers of those that are to be seen, by default all.
    """
    found = np.zeros((256, 4), np.uint8)
    for number, name in enumerate(classes):
        if name != BACKGROUND and (shown is None or number in shown):
            found[number] = (*palette()[number], OPACITY)
    found[IGNORED] = (255, 255, 255, VEIL)
    return found


def tints_of_objects(count: int) -> NDArray[np.uint8]:
    """The same [1 + count, 4] for the numbers of objects, of which 0 is none."""
    found = np.zeros((1 + count, 4), np.uint8)
    found[1:] = np.append(palette(), np.full((256, 1), OPACITY, np.uint8), 1)[np.arange(count) % 256]
    return found


def legend_of(classes: Sequence[str], numbers: Iterable[int], said: Sequence[str] | None = None) -> list[Patch]:
    """The entries of a legend for these numbers in a map; `said` is what is written, by default their names."""
    entries = list[Patch]()
    for place, number in enumerate(numbers):
        ignored = number == IGNORED
        name = said[place] if said else "does not count" if ignored else short(classes[number], 24)
        plain = ignored or classes[number] == BACKGROUND
        colour = "white" if plain else tuple(palette()[number] / 255)
        edge = GREY if plain else colour
        entries.append(Patch(facecolor=colour, edgecolor=edge, hatch="////" if ignored else "", label=name))
    return entries


def legend_columns(entries: Sequence[Patch], inches: float, points: float) -> int:
    """Columns of a legend that fit side by side, by its longest entry."""
    widest = max(written_size(str(entry.get_label()), points)[0] for entry in entries)
    return max(1, int(72 * inches / (widest + 5 * points)))  # its colour, and what is free


def legend_picture(entries: Sequence[Patch], rows: int, points: float) -> NDArray[np.uint8]:
    """A legend drawn by itself, uint8 [h, w, 3], of as many columns as it needs for at most so many rows."""
    figure = Figure(dpi=DPI)  # its size is known when all is written
    columns = max(1, -(-len(entries) // rows))
    legend = figure.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        fontsize=points,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.4,
    )
    canvas = FigureCanvasAgg(figure)
    with lettered(figure):
        figure.draw_without_rendering()
        size = legend.get_window_extent()
        figure.set_size_inches((size.width + 2) / DPI, (size.height + 2) / DPI)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def palette_of(classes: Sequence[str]) -> NDArray[np.uint8]:
    """The palette [256, 3] of an indexed picture of class numbers: the background is black, IGNORED white."""
    return tints_of(classes)[:, :3]
