"""What is drawn and said of `tags`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.prepare import Placement
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import draw_example, learning_curves, new_figure, save


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    return [f"f1 of {name}: {f1:.3f}" for name, f1 in zip(spec.classes, scores.tables["f1"], strict=True)]


def predicted(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> list[str]:
    return [f"{p:.2f} {name}" for name, p in zip(spec.classes, outputs["probabilities"], strict=True)]


def annotate(example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], spec: Spec, path: Path) -> None:
    figure = new_figure(3, 2)
    draw_example(figure.subplots(), next(iter(example.values())))
    save(figure, path)
