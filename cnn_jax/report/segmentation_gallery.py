"""The images that a segmenter does worst and best: each beside its true map, the predicted one, and what is wrong."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_jax.data.source import Source, file_names
from cnn_jax.data.spec import IGNORED, named
from cnn_jax.report.figures import DPI, ORANGE, draw_example, save, short
from cnn_jax.report.maps import fitted, legend_columns, legend_of, overlaid, tints_of
from cnn_jax.report.segmentation_figures import Tables

GROUPS = {"worst": "the worst", "best": "the best"}
PANELS = ("", "truth", "predicted", "wrong")
SIDE, TOP, ABOVE, BETWEEN, MARGIN = 1.7, 0.5, 0.24, 0.06, 0.3  # inches: of a picture, and what is free
POINTS = 9  # of the legend's letters


class Seen(NamedTuple):
    """An example: its picture [H, W, C], its true map and the predicted one [H, W], and the score of the image."""

    name: str
    score: float
    picture: NDArray
    truth: NDArray[np.uint8]
    said: NDArray[np.uint8]


def gallery(source: Source, tables: Tables, path: Path) -> None:
    """A row of pictures for each of the worst images, left, and of the best, right, with the name of the file.

    The last is grey, and orange where the class is wrong. Pixels that do not count are white in all maps.
    """
    classes = source.spec.classes
    groups = {name: _seen(source, tables[name], tables[f"{name}_maps"]) for name in GROUPS}
    lines = max(1, *map(len, groups.values()))
    shapes = np.array([one.truth.shape for group in groups.values() for one in group] or [(1, 1)])
    ratio = float(np.clip((shapes[:, 0] / shapes[:, 1]).max(), 0.25, 1.5))  # height for a width, with room for all
    wide, tall = SIDE * min(1, 1 / ratio), SIDE * min(1, ratio)
    wide = max(wide, SIDE * 0.7)  # room for a title
    shown = np.unique([values for group in groups.values() for one in group for values in _numbers(one)]).tolist()
    entries = legend_of(classes, shown)

    # Placed by hand: a layout that looks for room takes longer than all that is drawn.
    half = 4 * (wide + BETWEEN) + MARGIN
    columns = legend_columns(entries, 2 * half, POINTS)
    below = 0.24 * -(-len(entries) // columns) + 0.15
    whole = (MARGIN + 2 * half, TOP + lines * (tall + ABOVE + BETWEEN) + below)
    figure = Figure(figsize=whole)

    def axes(group: int, line: int, panel: int) -> Axes:
        left = MARGIN + group * half + panel * (wide + BETWEEN)
        bottom = whole[1] - TOP - line * (tall + ABOVE + BETWEEN) - ABOVE - tall
        return figure.add_axes((left / whole[0], bottom / whole[1], wide / whole[0], tall / whole[1]))

    for number, (name, group) in enumerate(groups.items()):
        middle = (MARGIN + number * half + 2 * (wide + BETWEEN)) / whole[0]
        said = f"{GROUPS[name]}: mean IoU of the image" if group else "none has a score"
        figure.text(middle, 1 - 0.2 / whole[1], said, ha="center", va="top", fontsize=12)
        for line, one in enumerate(group):
            for panel, (title, drawn) in enumerate(zip(_titles(one), _panels(one, classes), strict=True)):
                ax = axes(number, line, panel)
                draw_example(ax, drawn)
                ax.set_title(title, fontsize=8, pad=3, color=ORANGE if panel == len(PANELS) - 1 else "black")
    figure.legend(handles=entries, loc="lower center", ncols=columns, fontsize=POINTS, frameon=False)
    save(figure, path)


def _seen(source: Source, rows: NDArray, maps: NDArray[np.uint8]) -> list[Seen]:
    """The examples of `rows` [M, 2] of place and score with their predicted maps [M, H, W]."""
    image, target = named(source.spec.inputs, "image"), named(source.spec.targets, "class_map")
    found = []
    for (place, score), said in zip(rows.tolist(), maps, strict=True):
        index = np.array([int(place)])
        batch = source.batch(index)  # by itself: their shapes may differ
        truth = batch[target][0]
        files = file_names(source, index)
        name = Path(files[0]).name if files else f"#{index[0]}"
        height, width = truth.shape
        found.append(
            Seen(name, score, batch[image][0], truth, np.where(truth == IGNORED, IGNORED, said[:height, :width]))
        )
    return found


def _numbers(one: Seen) -> list[int]:
    return np.union1d(one.truth, one.said).tolist()


def _titles(one: Seen) -> tuple[str, ...]:
    counted = one.truth != IGNORED
    wrong = (one.truth != one.said)[counted].mean() if counted.any() else np.nan
    return short(one.name, 22), PANELS[1], f"{PANELS[2]}: IoU {one.score:.3f}", f"{PANELS[3]}: {wrong:.1%}"


def _panels(one: Seen, classes: tuple[str, ...]) -> list[NDArray[np.uint8]]:
    height, width = one.truth.shape
    scale = SIDE * DPI / max(height, width)
    size = (max(round(scale * height), 1), max(round(scale * width), 1))
    tints, found = tints_of(classes), []
    for values in (one.truth, one.said):
        picture, fit = fitted(one.picture, values, size)
        found.append(overlaid(picture, fit, tints))
    wrong = np.where(one.truth == IGNORED, IGNORED, one.truth != one.said)
    picture, fit = fitted(one.picture, wrong, size)
    colours = np.zeros((256, 4), np.uint8)
    colours[1], colours[IGNORED] = (*(round(255 * part) for part in to_rgb(ORANGE)), 255), tints[IGNORED]
    grey = 127 + picture.mean(-1, keepdims=True) / 2
    return [picture, *found, overlaid(grey.astype(np.uint8), fit, colours, 0)]
