"""The report of a segmentation: how it learned, how well it finds each class, and its maps over pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data.placement import Placement, map_to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import IGNORED, Spec
from cnn_jax.evals.evaluator import Scores, digits
from cnn_jax.lookup import did_you_mean
from cnn_jax.paths import printable
from cnn_jax.report.figures import HOUSEKEEPING, learning_curves, short
from cnn_jax.report.maps import MASK, draw_map, legend_of, palette_of, tints_of
from cnn_jax.report.segmentation_figures import confused_pixels, iou_by_class
from cnn_jax.report.segmentation_gallery import gallery

PANELS = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}
NUMBERS = ("iou", "dice", "accuracy", "image_iou", "boundary_f")  # tables that `lines` shows
COLUMNS = {  # of it, with their widths
    **{"IoU": 7, "95 % interval": 16, "Dice": 7, "accuracy": 8},
    **{"by image": 8, "boundary F": 10, "pixels": 13},
}
TOP, LEAST = None, 0.0  # all classes of a picture are said
LONGEST = 8192
UNSEEN = "(not seen)"  # what a result calls pixels that the model was not shown, as those beside a centre crop


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    """Writes learning_curves, classes, confusion_matrix and gallery as PNG into `folder`."""
    tables, classes = scores.tables, source.spec.classes
    terms = dict.fromkeys(name for row in rows if row["split"] == "train" for name in row if name not in HOUSEKEEPING)
    losses = {name: name if name == "loss" else f"loss: {name}" for name in terms if name not in PANELS}
    learning_curves(rows, folder / "learning_curves.png", losses | PANELS)
    iou_by_class(tables, classes, folder / "classes.png")
    confused_pixels(tables, classes, folder / "confusion_matrix.png")
    gallery(source, tables, folder / "gallery.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    """The scores of each class."""
    tables = scores.tables
    found = [
        "by class; IoU, Dice and accuracy over all pixels of the set together,",
        f"IoU by image and boundary F as means over the {spec.units} that have the class, truly or predicted:",
    ]
    found.append(f"  {'':20} " + " ".join(f"{name:>{width}}" for name, width in COLUMNS.items()))
    rows = zip(spec.classes, *(tables[name] for name in ("iou_low", "iou_high", *NUMBERS, "pixels")), strict=True)
    for name, low, high, iou, *others, pixels in rows:
        interval = f"{low:.4f} to {high:.4f}" if np.isfinite(low) else ""
        values = [digits(iou), interval, *map(digits, others), f"{pixels:,}"]
        cells = " ".join(f"{value:>{width}}" for value, width in zip(values, COLUMNS.values(), strict=True))
        found.append(f"  {printable(name):20} {cells}")
    examples, empty, counted, ignored = tables["counted"].tolist()
    if ignored:
        found.append(f"{ignored:,} of {counted + ignored:,} pixels do not count, as they are of no known class")
    if empty:
        found.append(f"{empty:,} of {examples:,} {spec.units} have no pixel that counts")
    return found


class Segmented(NamedTuple):
    """The class of each pixel of one picture.

    class_map: [H, W] numbers of the classes over the picture, IGNORED (255) where the model did not see it, as outside
    a centre crop. classes: names of all classes, by their numbers. labels: [K] numbers of those that occur, the one of
    most pixels first, and IGNORED last, where it occurs. pixels: [K] how many there are of each.
    """

    class_map: NDArray[np.uint8]
    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    pixels: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """[K] names of the classes that occur."""
        return tuple(UNSEEN if label == IGNORED else self.classes[label] for label in self.labels)

    @property
    def shares(self) -> NDArray[np.float64]:
        """[K] the share of the picture that is of each class."""
        return self.pixels / self.class_map.size

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Where the picture is of a class: [H, W]. Raises ValueError for one that the model does not know."""
        if name not in self.classes:
            raise ValueError(f"the model knows no class '{name}': {did_you_mean(name, self.classes)}")
        return self.class_map == self.classes.index(name)

    def __repr__(self) -> str:
        said = [f"{printable(name)} {share:.1%}" for name, share in zip(self.names, self.shares, strict=True)]
        more = [f"{len(said) - 5} more"] if len(said) > 5 else []
        height, width = self.class_map.shape
        return f"Segmented({height} x {width} pixels: {', '.join(said[:5] + more)})"


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Segmented:
    """The class of each pixel of the original picture, where it is known how it lies in the example; else of that."""
    found = outputs["class_map"]
    if placement is not None:
        found = map_to_original(found, placement, IGNORED)
    counts = np.zeros(256, np.int64)
    for row in found:  # of all at once it would make whole numbers of 8 bytes
        counts += np.bincount(row, minlength=256)
    order = np.argsort(-counts, kind="stable")
    order = np.append(order[order != IGNORED], IGNORED)
    labels = order[counts[order] > 0]
    return Segmented(found, spec.classes, labels.astype(np.int32), counts[labels])


def rows(result: Segmented) -> list[dict[str, Any]]:
    """A row for each class that occurs: its name, its number in the mask, its pixels and its share of the picture."""
    columns = (result.names, result.labels.tolist(), result.pixels.tolist(), result.shares.tolist())
    return [dict(zip(("class", "label", "pixels", "share"), row, strict=True)) for row in zip(*columns, strict=True)]


def words(row: Mapping[str, Any]) -> str:
    """A class with its share of the picture."""
    return f"{row['share']:7.2%}  {printable(row['class'])}  {row['pixels']:,} pixels"


def best(result: Segmented, top: int | None, least: float) -> Segmented:
    """The first classes, of those with a share of `least` or more; the map stays whole."""
    kept = np.flatnonzero(result.shares >= least)[:top]
    return result._replace(labels=result.labels[kept], pixels=result.pixels[kept])


def files(result: Segmented, beside: Path) -> dict[str, Path]:
    """Writes the mask: an indexed PNG of the picture's size, whose values are the numbers of the classes."""
    path = beside.with_suffix(".mask.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(result.class_map)
    mask.putpalette(palette_of(result.classes).ravel().tolist())  # makes grey values indices, as they are
    mask.save(path)
    return {MASK: path}


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Segmented, path: Path) -> None:
    """Draws a picture with its classes as tints within contours, and beside it what they are."""
    said = [f"{share:6.1%}  {short(name, 24)}" for name, share in zip(result.names, result.shares, strict=True)]
    shown = result.labels.tolist()
    tints, entries = tints_of(result.classes, shown), legend_of(result.classes, shown, said)
    draw_map(picture, result.class_map, tints, entries, path)
