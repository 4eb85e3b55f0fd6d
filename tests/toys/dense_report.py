"""What is drawn and said of `dense`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.placement import Placement, map_to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import IGNORED, Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import learning_curves, new_figure, save

TOP, LEAST, LONGEST = None, 0.0, 1600


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    return [f"iou of {name}: {iou:.3f}" for name, iou in zip(spec.classes, scores.tables["iou"], strict=True)]


class Areas(NamedTuple):
    """names: [K]; pixels: [K] of each; map: [H, W] of the picture, the class of each pixel."""

    names: tuple[str, ...]
    pixels: tuple[int, ...]
    map: np.ndarray


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Areas:
    found = outputs["map"] if placement is None else map_to_original(outputs["map"], placement, IGNORED)
    return Areas(spec.classes, tuple(int((found == k).sum()) for k in range(len(spec.classes))), found)


def rows(result: Areas) -> list[dict[str, Any]]:
    return [{"class": name, "pixels": pixels} for name, pixels in zip(result.names, result.pixels, strict=True)]


def words(row: Mapping[str, Any]) -> str:
    return f"{row['class']}: {row['pixels']} pixels"


def best(result: Areas, top: int | None, least: float) -> Areas:
    return result


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Areas, path: Path) -> None:
    figure = new_figure(4, 2)
    for ax, shown in zip(figure.subplots(1, 2), (picture, result.map), strict=True):
        ax.imshow(shown)
    save(figure, path)
