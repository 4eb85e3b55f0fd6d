"""What is drawn and said of `dense`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.prepare import Placement, map_to_original
from cnn_jax.data.source import Source
from cnn_jax.data.spec import IGNORED, Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import learning_curves, new_figure, save


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    return [f"iou of {name}: {iou:.3f}" for name, iou in zip(spec.classes, scores.tables["iou"], strict=True)]


def predicted(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> list[str]:
    found = outputs["map"] if placement is None else map_to_original(outputs["map"], placement, IGNORED)
    return [f"{name}: {int((found == k).sum())} pixels" for k, name in enumerate(spec.classes)]


def annotate(example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], spec: Spec, path: Path) -> None:
    figure = new_figure(4, 2)
    for ax, picture in zip(figure.subplots(1, 2), (*example.values(), outputs["map"]), strict=True):
        ax.imshow(picture)
    save(figure, path)
