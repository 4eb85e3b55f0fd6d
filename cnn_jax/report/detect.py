"""The report of a detector: how it learned, how well it finds what, and its boxes on pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cnn_jax.data.placement import Placement, to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.average_precision import RANGES
from cnn_jax.evals.evaluator import Scores, digits
from cnn_jax.evals.found import bounds
from cnn_jax.evals.matching import iou
from cnn_jax.paths import printable
from cnn_jax.report.boxes import draw_boxes, draw_masks
from cnn_jax.report.colours import colours_of
from cnn_jax.report.detection_figures import (
    confusion_with_background,
    precision_by_class,
    precision_recall,
    tide_bars,
)
from cnn_jax.report.detection_gallery import gallery
from cnn_jax.report.figures import DPI, HOUSEKEEPING, learning_curves, save, short

PANELS = {"ap": "average precision", "ap50": "average precision at IoU .5"}
COLUMNS = ("average_precision", "average_precision_low", "average_precision_high", "ap50", "objects")  # of tables
WIDTHS = {"95 % interval": 16}  # of columns that `lines` shows
TOP, LEAST = None, 0.3  # all boxes are shown, of at least this score
SAME = 0.8  # IoU above which boxes lie on each other: the best of them is drawn
SIDE = 480  # pixels of the longer side of a drawn picture, at least
NARROW, LONGEST = 200, 1600  # of the shorter side, where that makes the longer one no longer than LONGEST
MARGIN = 12  # pixels around a drawn picture


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
    labels: [K] numbers of the classes. masks: [K, M, M] in [0, 1], of an M x M grid over each box, where the detector
    has such: from 0.5 on a place is of the object.
    """

    boxes: NDArray[np.float32]
    names: tuple[str, ...]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    masks: NDArray[np.float32] | None = None

    def above(self, score: float) -> "Found":
        """Those of at least this score."""
        return self.first(int((self.scores >= score).sum()))

    def first(self, count: int | None) -> "Found":
        """So many of them, all for None."""
        masks = None if self.masks is None else self.masks[:count]
        return Found(self.boxes[:count], self.names[:count], self.scores[:count], self.labels[:count], masks)

    def __repr__(self) -> str:
        sure = self.above(LEAST)
        said = ", ".join(f"{printable(n)} {s:.0%}" for n, s in zip(sure.names, sure.scores, strict=True))
        return f"Found({said or 'nothing'}; {len(self.names)} boxes in all)"


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Found:
    """The objects of one example; their boxes in the original picture where it is known how it lies in the example."""
    real = outputs["labels"] >= 0
    boxes, labels = outputs["boxes"][real], outputs["labels"][real]
    if placement is not None:
        boxes = to_original(boxes, placement).astype(np.float32)
    masks = outputs["masks"][real] if "masks" in outputs else None
    return Found(boxes, tuple(spec.classes[label] for label in labels), outputs["scores"][real], labels, masks)


def rows(result: Found) -> list[dict[str, Any]]:
    """A row for each box."""
    found = zip(result.names, result.scores.tolist(), result.boxes.tolist(), strict=True)
    sides = ("left", "top", "right", "bottom")
    return [{"class": name, "score": score, **dict(zip(sides, box, strict=True))} for name, score, box in found]


def words(row: Mapping[str, Any]) -> str:
    """A class with its score and its box."""
    box = " ".join(f"{row[side]:.1f}" for side in ("left", "top", "right", "bottom"))
    return f"{row['score']:7.2%}  {printable(row['class'])}  {box}"


def best(result: Found, top: int | None, least: float) -> Found:
    """The first boxes, of those with a score of `least` or more."""
    return result.above(least).first(top)


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Found, path: Path) -> None:
    """Draws a picture with the boxes; of those that lie on each other (SAME) the best, the title counts the others."""
    height, width = size[:2]
    longer, shorter = max(height, width), min(height, width)
    # At least as large as the picture is, and such that a name finds room across one that is long.
    side = max(SIDE, *picture.shape[:2], min(NARROW * longer / shorter, LONGEST))
    tall, wide = side * height / longer, side * width / longer
    scale = min(max(min(tall, wide) / 450, 1), 2)  # of what is written and drawn, to be read where all of it is seen
    above = round(28 * scale)
    whole = (max(wide, round(420 * scale)) + 2 * MARGIN, tall + 2 * MARGIN + above)
    figure = Figure(figsize=(whole[0] / DPI, whole[1] / DPI))
    place = ((whole[0] - wide) / 2 / whole[0], MARGIN / whole[1], wide / whole[0], tall / whole[1])
    kept = _on_top(result.boxes)
    names = [f"{short(result.names[k], 24)} {result.scores[k]:.0%}" for k in kept[::-1]]
    colours = colours_of(result.labels[kept[::-1]].tolist())
    ax = figure.add_axes(place)
    unnamed = draw_boxes(
        ax,
        picture,
        size,
        result.boxes[kept[::-1]],
        names,
        colours,
        fontsize=9 * scale,
        linewidth=1.6 * scale,
    )
    if result.masks is not None:
        draw_masks(ax, result.boxes[kept[::-1]], result.masks[kept[::-1]], colours)
    parts = [f"{len(kept)} {'box' if len(kept) == 1 else 'boxes'}"] if len(kept) else ["nothing found"]
    parts += [f"{len(result.names) - len(kept)} more in the same places"] if len(kept) < len(result.names) else []
    parts += [f"{unnamed} without room for a name"] if unnamed else []
    figure.text(0.5, 1 - MARGIN / whole[1], ", ".join(parts), fontsize=9 * scale, ha="center", va="top")
    save(figure, path)


def _on_top(boxes: np.ndarray) -> np.ndarray:
    """Which boxes [N, 4] do not lie on a better one."""
    edges, kept = bounds(boxes.astype(np.float64)), list[int]()
    for k in range(len(edges)):
        better = edges[kept]
        shared = iou(np.broadcast_to(edges[k], better.shape), better, np.zeros(len(kept), bool))
        if not (shared > SAME).any():
            kept.append(k)
    return np.array(kept, int)
