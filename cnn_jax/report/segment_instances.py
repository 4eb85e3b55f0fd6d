"""The report of instance segmentation: how it learned, how well objects are found, and their outlines on pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data.placement import Placement, to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores, digits
from cnn_jax.evals.segmentation import BACKGROUND
from cnn_jax.ops.polygons import painted
from cnn_jax.report.figures import GREY, HOUSEKEEPING, learning_curves
from cnn_jax.report.instance_figures import gallery, precision_by_threshold
from cnn_jax.report.maps import MASK, draw_map, tints_of_objects
from cnn_jax.tasks.segment_instances import objects

PANELS = {"ap50": "average precision at IoU .5", "foreground_iou": "IoU of all objects as one"}
COLUMNS = ("precision", "recall", "f1", "mean_iou")  # tables that `lines` shows
TOP, LEAST = None, 0.0  # all objects are shown: the model has left out those that it is not sure of
LONGEST = 8192
MOST = 2**16 - 1  # objects that a mask can number


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    """Writes learning_curves, average_precision and gallery as PNG into `folder`."""
    terms = dict.fromkeys(name for row in rows if row["split"] == "train" for name in row if name not in HOUSEKEEPING)
    losses = {name: name if name == "loss" else f"loss: {name}" for name in terms}
    learning_curves(rows, folder / "learning_curves.png", losses | PANELS)
    precision_by_threshold(scores.tables, folder / "average_precision.png")
    gallery(source, scores.tables, folder / "gallery.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    """The scores at each IoU from which on an object counts as found."""
    tables = scores.tables
    found = ["objects that are found, by the IoU from which on they count as found:"]
    heads = ("AP", "95 % interval", "precision", "recall", "F1", "mean IoU", "found", "wrong", "missed")
    found.append("  IoU  " + " ".join(f"{head:>{max(len(head), 7)}}" for head in heads))
    for row, threshold in enumerate(tables["thresholds"]):
        low, high = (tables[f"average_precision_{end}"][row] for end in ("low", "high"))
        cells = [digits(tables["average_precision"][row]), f"{low:.3f} – {high:.3f}" if np.isfinite(low) else ""]
        cells += [digits(tables[name][row]) for name in COLUMNS]
        cells += [f"{count:,}" for count in tables["matches"][row]]
        found.append(
            f"  {threshold:.2f} " + " ".join(f"{c:>{max(len(h), 7)}}" for c, h in zip(cells, heads, strict=True))
        )
    images, empty, true, said, dropped = tables["counted"].tolist()
    found.append(f"{true:,} objects in {images:,} {spec.units}, {said:,} predicted")
    if dropped:
        found.append(
            f"{dropped:,} of the predicted ones lie mostly on what is ignored, and do not count unless matched"
        )
    if empty:
        found.append(f"{empty:,} of {images:,} {spec.units} have no object, and none is predicted")
    return found


class Outlined(NamedTuple):
    """The objects of one picture, in order of falling scores.

    instance_map: [H, W] over the picture, 1 for the first object, 0 for none. polygons: [M, R, 2] their corners x, y in
    pixels of the picture; scores: [M] in [0, 1]; areas: [M] pixels of each in the map. name: what an object is called.
    """

    instance_map: NDArray[np.int32]
    polygons: NDArray[np.float32]
    scores: NDArray[np.float32]
    areas: NDArray[np.int64]
    name: str

    def mask(self, number: int) -> NDArray[np.bool_]:
        """Where an object is, [H, W]: the first is number 1."""
        return self.instance_map == number

    def first(self, count: int | None) -> "Outlined":
        """So many of them, all for None."""
        if count is None or count >= len(self.scores):
            return self
        kept = np.where(self.instance_map <= count, self.instance_map, 0)
        return Outlined(kept, self.polygons[:count], self.scores[:count], self.areas[:count], self.name)

    def __repr__(self) -> str:
        height, width = self.instance_map.shape
        return f"Outlined({height} x {width} pixels: {len(self.scores)} x {self.name})"


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Outlined:
    """The objects in the original picture, where it is known how it lies in the example; else in that."""
    found, size = objects(outputs), tuple(outputs["size"].tolist())
    polygons = found.polygons
    if placement is not None:
        polygons, size = to_original(polygons, placement), placement.original
    drawn = painted(polygons, size)
    areas = np.bincount(drawn.ravel(), minlength=len(polygons) + 1)[1:]
    seen = np.flatnonzero(areas)  # a small one may lie beneath others
    numbers = np.zeros(len(polygons) + 1, np.int32)
    numbers[seen + 1] = np.arange(1, len(seen) + 1)
    name = next((name for name in spec.classes if name != BACKGROUND), "object") if len(spec.classes) < 3 else "object"
    return Outlined(numbers[drawn], polygons[seen].astype(np.float32), found.scores[seen], areas[seen], name)


def rows(result: Outlined) -> list[dict[str, Any]]:
    """A row for each object: its number in the mask, score, pixels, box, and its corners as "x,y x,y ..."."""
    found = []
    for place, (polygon, score, area) in enumerate(zip(result.polygons, result.scores, result.areas, strict=True)):
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in polygon.tolist())
        (left, top), (right, bottom) = polygon.min(0).tolist(), polygon.max(0).tolist()
        box = {"left": left, "top": top, "right": right, "bottom": bottom}
        row = {"class": result.name, "object": place + 1, "score": float(score), "pixels": int(area)}
        found.append({**row, **box, "polygon": corners})
    return found


def words(row: Mapping[str, Any]) -> str:
    """An object with its score, its size and its box."""
    box = " ".join(f"{row[side]:.1f}" for side in ("left", "top", "right", "bottom"))
    return f"{row['score']:7.2%}  {row['class']} {row['object']}  {row['pixels']:,} pixels  {box}"


def best(result: Outlined, top: int | None, least: float) -> Outlined:
    """The first objects, of those with a score of `least` or more."""
    return result.first(int((result.scores >= least).sum())).first(top)


def files(result: Outlined, beside: Path) -> dict[str, Path]:
    """Writes the mask: a grey PNG of 16 bits and of the picture's size, whose values are the numbers of the objects.

    Raises ValueError for more objects than 16 bits can number.
    """
    if len(result.scores) > MOST:
        raise ValueError(
            f"{len(result.scores):,} objects are too many for a mask of 16 bits: give parts of the picture"
        )
    path = beside.with_suffix(".mask.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(result.instance_map.astype(np.uint16)).save(path)
    return {MASK: path}


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Outlined, path: Path) -> None:
    """Draws a picture with its objects as tints within contours, and beside it how many there are."""
    count = len(result.scores)
    entries = [Patch(facecolor="white", edgecolor=GREY, label=f"{count:,} x {result.name}")]
    if count:
        area = f"{np.median(result.areas):,.0f} pixels (median)"
        entries.append(Patch(facecolor="white", edgecolor="white", label=area))
    draw_map(picture, result.instance_map, tints_of_objects(count), entries, path)
