"""What is drawn and said of `views`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.prepare import Placement
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import learning_curves, new_figure, save


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    return ["embeddings lie on a sphere"]


def predicted(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> list[str]:
    return [f"length {np.linalg.norm(outputs['embedding']):.3f}"]


def annotate(example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], spec: Spec, path: Path) -> None:
    figure = new_figure(2, 2)
    figure.subplots().bar(range(len(outputs["embedding"])), outputs["embedding"])
    save(figure, path)
