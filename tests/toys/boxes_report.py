"""What is drawn and said of `boxes`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.patches import Rectangle

from cnn_jax.data.placement import Placement, to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import learning_curves, new_figure, save

TOP, LEAST, LONGEST = None, 0.0, 1600


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png", {"loss": "distance", "iou": "overlap"})


def lines(scores: Scores, spec: Spec) -> list[str]:
    return ["boxes are in pixels"]


class Box(NamedTuple):
    """In pixels of the picture."""

    left: float
    top: float
    right: float
    bottom: float


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Box:
    return Box(*(outputs["boxes"] if placement is None else to_original(outputs["boxes"], placement)).tolist())


def rows(result: Box) -> list[dict[str, Any]]:
    return [result._asdict()]


def words(row: Mapping[str, Any]) -> str:
    return "box " + " ".join(f"{side:.2f}" for side in row.values())


def best(result: Box, top: int | None, least: float) -> Box:
    return result


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Box, path: Path) -> None:
    figure = new_figure(2, 2)
    ax = figure.subplots()
    ax.imshow(picture, extent=(0, size[1], size[0], 0))
    ax.add_patch(Rectangle(result[:2], result.right - result.left, result.bottom - result.top, fill=False))
    save(figure, path)
