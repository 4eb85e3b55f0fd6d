"""The images that a segmenter does worst and best: each beside its true map, the predicted one, and what is wrong."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from cnn_jax.data.source import Source, file_names
from cnn_jax.data.spec import IGNORED, named
from cnn_jax.report.figures import ORANGE, short
from cnn_jax.report.map_gallery import Line, draw_lines, drawn_size, faint
from cnn_jax.report.maps import fitted, legend_of, overlaid, tints_of
from cnn_jax.report.segmentation_figures import Tables

GROUPS = {"worst": "the worst: mean IoU of the image", "best": "the best: mean IoU of the image"}
PANELS = ("", "truth", "predicted", "wrong")


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
    groups = {said: _seen(source, tables[name], tables[f"{name}_maps"]) for name, said in GROUPS.items()}
    shown = np.unique([values for group in groups.values() for one in group for values in _numbers(one)]).tolist()
    lines = {said: [_line(one, classes) for one in group] for said, group in groups.items()}
    draw_lines(lines, legend_of(classes, shown), path)


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


def _line(one: Seen, classes: tuple[str, ...]) -> Line:
    counted = one.truth != IGNORED
    share = (one.truth != one.said)[counted].mean() if counted.any() else np.nan
    titles = short(one.name, 22), PANELS[1], f"{PANELS[2]}: IoU {one.score:.3f}", f"{PANELS[3]}: {share:.1%}"
    tints, size, drawn = tints_of(classes), drawn_size(one.truth.shape), []
    for values in (one.truth, one.said):
        picture, fit = fitted(one.picture, values, size)
        drawn.append(overlaid(picture, fit, tints))
    wrong = np.where(one.truth == IGNORED, IGNORED, one.truth != one.said)
    picture, fit = fitted(one.picture, wrong, size)
    colours = np.zeros((256, 4), np.uint8)
    colours[1], colours[IGNORED] = (*(round(255 * part) for part in to_rgb(ORANGE)), 255), tints[IGNORED]
    return Line(titles, [picture, *drawn, overlaid(faint(picture), fit, colours, 0)])
