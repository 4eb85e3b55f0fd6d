"""What is drawn and said of `views`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.placement import Placement
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report.figures import learning_curves, new_figure, save

TOP, LEAST, LONGEST = None, 0.0, 1600


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    learning_curves(rows, folder / "learning_curves.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    return ["embeddings lie on a sphere"]


class Embedding(NamedTuple):
    vector: np.ndarray


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Embedding:
    return Embedding(outputs["embedding"])


def rows(result: Embedding) -> list[dict[str, Any]]:
    return [{"length": float(np.linalg.norm(result.vector))}]


def words(row: Mapping[str, Any]) -> str:
    return f"length {row['length']:.3f}"


def best(result: Embedding, top: int | None, least: float) -> Embedding:
    return result


def annotate(picture: np.ndarray, size: tuple[int, ...], result: Embedding, path: Path) -> None:
    figure = new_figure(2, 2)
    figure.subplots().bar(range(len(result.vector)), result.vector)
    save(figure, path)
