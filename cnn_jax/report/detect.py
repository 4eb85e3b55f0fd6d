"""The report of a detector: how it learned, how well it finds what, and its boxes on pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.prepare import Placement, to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.average_precision import RANGES
from cnn_jax.evals.evaluator import Scores, digits
from cnn_jax.paths import printable
from cnn_jax.report.boxes import colours_of, draw_boxes
from cnn_jax.report.detection_figures import (
    confusion_with_background,
    precision_by_class,
    precision_recall,
    tide_bars,
)
from cnn_jax.report.detection_gallery import gallery
from cnn_jax.report.figures import DPI, HOUSEKEEPING, learning_curves, new_figure, save, short

PANELS = {"ap": "average precision", "ap50": "average precision at IoU .5"}
COLUMNS = ("average_precision", "average_precision_low", "average_precision_high", "ap50", "objects")  # of tables
WIDTHS = {"95 % interval": 16}  # of columns that `lines` shows
DRAWN = 0.3  # boxes of at least this score are drawn
LEAST = 480  # pixels of the longer side of a drawn picture
NARROWEST = 3.6  # inches, so that the title finds room above a tall picture


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    """Writes learning_curves, precision_recall, confusion_matrix, errors, classes and gallery as PNG into `folder`."""
    tables, classes = scores.tables, source.spec.classes
    terms = dict.fromkeys(name for row in rows if row["split"] == "train" for name in row if name not in HOUSEKEEPING)
    panels = {name: name if name == "loss" else f"loss: {name}" for name in terms} | PANELS
    learning_curves(rows, folder / "learning_curves.png", panels)
    precision_recall(tables, classes, folder / "precision_recall.png")
    confusion_with_background(tables, classes, folder / "confusion_matrix.png")
    tide_bars(tables, folder / "errors.png")
    precision_by_class(tables, classes, folder / "classes.png")
    gallery(source, tables, folder / "gallery.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    """The average precision of each class, over all sizes and over each range of them."""
    tables = scores.tables
    small, large = tables["sizes"]
    ranges = f"small: up to {small:g} x {small:g} pixels of the picture, large: from {large:g} x {large:g} on"
    found = [f"average precision by class, over all sizes and by size ({ranges}):"]
    columns = ("ap", "95 % interval", "ap50", *RANGES[1:], "objects")
    found.append(f"  {'':20} " + " ".join(f"{name:>{WIDTHS.get(name, 7)}}" for name in columns))
    rows = zip(spec.classes, *(tables[name] for name in COLUMNS), strict=True)
    for name, sizes, low, high, ap50, objects in rows:
        interval = f"{low[0]:.4f} to {high[0]:.4f}" if np.isfinite(low[0]) else ""
        values = [f"{digits(value):>7}" for value in (ap50, *sizes[1:])]
        found.append(f"  {printable(name):20} {digits(sizes[0]):>7} {interval:>16} {' '.join(values)} {objects[0]:>7,}")
    return found


class Found(NamedTuple):
    """The objects of one picture, in order of falling scores.

    boxes: [K, 4] left, top, right, bottom in pixels of the picture; names: [K] of their classes; scores: [K] in [0, 1];
    labels: [K] numbers of the classes.
    """

    boxes: NDArray[np.float32]
    names: tuple[str, ...]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]

    def above(self, score: float) -> "Found":
        """Those of at least this score."""
        count = int((self.scores >= score).sum())
        return Found(self.boxes[:count], self.names[:count], self.scores[:count], self.labels[:count])

    def __repr__(self) -> str:
        sure = self.above(DRAWN)
        said = ", ".join(f"{printable(n)} {s:.0%}" for n, s in zip(sure.names, sure.scores, strict=True))
        return f"Found({said or 'nothing'}; {len(self.names)} boxes in all)"


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Found:
    """The objects of one example; their boxes in the original picture where it is known how it lies in the example."""
    real = outputs["labels"] >= 0
    boxes, labels = outputs["boxes"][real], outputs["labels"][real]
    if placement is not None:
        boxes = to_original(boxes, placement).astype(np.float32)
    return Found(boxes, tuple(spec.classes[label] for label in labels), outputs["scores"][real], labels)


def rows(result: Found) -> list[dict[str, Any]]:
    """A row for each box."""
    found = zip(result.names, result.scores.tolist(), result.boxes.tolist(), strict=True)
    sides = ("left", "top", "right", "bottom")
    return [{"class": name, "score": score, **dict(zip(sides, box, strict=True))} for name, score, box in found]


def words(row: Mapping[str, Any]) -> str:
    """A class with its score and its box."""
    box = " ".join(f"{row[side]:.1f}" for side in ("left", "top", "right", "bottom"))
    return f"{row['score']:7.2%}  {printable(row['class'])}  {box}"


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Found, path: Path) -> None:
    """Draws a picture with the boxes of at least the score DRAWN."""
    sure = result.above(DRAWN)
    height, width = size[:2]
    side = max(LEAST, *picture.shape[:2]) / DPI
    figure = new_figure(max(side * min(width / height, 1), NARROWEST), side * min(height / width, 1) + 0.35)
    ax = figure.subplots()
    names = [f"{short(name, 24)} {score:.0%}" for name, score in zip(sure.names, sure.scores, strict=True)]
    draw_boxes(ax, picture, size, sure.boxes, names, colours_of(sure.labels.tolist()))
    ax.set_title(f"{len(names)} of {len(result.names)} boxes, those of {DRAWN:.0%} and more", fontsize=9)
    save(figure, path)
