"""The report of a segmentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.prepare import Placement, map_to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import IGNORED, Spec
from cnn_jax.evals.evaluator import Scores, digits
from cnn_jax.paths import printable
from cnn_jax.report.figures import learning_curves, new_figure, save

TOP, LEAST = None, 0.0
PANELS = {"loss": "loss", "mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    """Writes learning_curves as PNG into `folder`."""
    learning_curves(rows, folder / "learning_curves.png", PANELS)


def lines(scores: Scores, spec: Spec) -> list[str]:
    """The IoU of each class."""
    found = zip(spec.classes, scores.tables["iou"], strict=True)
    return ["IoU by class, over the whole set:", *(f"  {printable(name):20} {digits(iou)}" for name, iou in found)]


class Areas(NamedTuple):
    """class_map: uint8 [H, W] over the picture; names: [K] of the classes; pixels: [K] of each."""

    class_map: NDArray[np.uint8]
    names: tuple[str, ...]
    pixels: tuple[int, ...]


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Areas:
    """The class of each pixel of the picture where it is known how it lies in the example, else of the example."""
    found = outputs["class_map"]
    found = found if placement is None else map_to_original(found, placement, IGNORED)
    return Areas(found, spec.classes, tuple(np.bincount(found.ravel(), minlength=256)[: len(spec.classes)].tolist()))


def rows(result: Areas) -> list[dict[str, Any]]:
    """A row for each class."""
    return [{"class": name, "pixels": pixels} for name, pixels in zip(result.names, result.pixels, strict=True)]


def words(row: Mapping[str, Any]) -> str:
    """A class with its pixels."""
    return f"{row['pixels']:,} pixels  {printable(row['class'])}"


def best(result: Areas, top: int | None, least: float) -> Areas:
    """The same: the classes of pixels are not ranked."""
    return result


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Areas, path: Path) -> None:
    """Draws a picture beside its map."""
    figure = new_figure(8, 4)
    for ax, shown in zip(figure.subplots(1, 2), (picture, result.class_map), strict=True):
        ax.imshow(shown)
    save(figure, path)
