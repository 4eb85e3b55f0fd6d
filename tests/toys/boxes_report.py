"""What is drawn and said of `boxes`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from cnn_jax.data.prepare import Placement, to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import learning_curves, new_figure, save


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png", {"loss": "distance", "iou": "overlap"})


def lines(scores: Scores, spec: Spec) -> list[str]:
    return ["boxes are in pixels"]


def predicted(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> list[str]:
    found = outputs["boxes"] if placement is None else to_original(outputs["boxes"], placement)
    return ["box " + " ".join(f"{side:.2f}" for side in found)]


def annotate(example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], spec: Spec, path: Path) -> None:
    figure = new_figure(2, 2)
    ax = figure.subplots()
    ax.imshow(next(iter(example.values())), extent=(0, 12, 12, 0))
    left, top, right, bottom = outputs["boxes"]
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False))
    save(figure, path)
