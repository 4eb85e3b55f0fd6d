"""What is drawn and said of `tags`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.placement import Placement
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import draw_example, learning_curves, new_figure, save

TOP, LEAST, LONGEST = None, 0.0, 1600


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    return [f"f1 of {name}: {f1:.3f}" for name, f1 in zip(spec.classes, scores.tables["f1"], strict=True)]


class Tags(NamedTuple):
    names: tuple[str, ...]
    probabilities: np.ndarray


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Tags:
    return Tags(spec.classes, outputs["probabilities"])


def rows(result: Tags) -> list[dict[str, Any]]:
    pairs = zip(result.names, result.probabilities.tolist(), strict=True)
    return [{"tag": name, "probability": probability} for name, probability in pairs]


def words(row: Mapping[str, Any]) -> str:
    return f"{row['probability']:.2f} {row['tag']}"


def best(result: Tags, top: int | None, least: float) -> Tags:
    chosen = np.flatnonzero(result.probabilities >= least)[:top]
    return Tags(tuple(result.names[k] for k in chosen), result.probabilities[chosen])


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Tags, path: Path) -> None:
    figure = new_figure(3, 2)
    draw_example(figure.subplots(), picture)
    save(figure, path)
