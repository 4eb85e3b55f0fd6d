"""The pictures of a classifier: how it learned, what it confuses, how sure it is, where it is confidently wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from cnn_jax.data.source import Source
from cnn_jax.evals import classification
from cnn_jax.report import gallery
from cnn_jax.report.figures import confusion_matrix, learning_curves, reliability_diagram
from cnn_jax.train.evaluate import Predictions


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], found: Predictions, source: Source) -> None:
    """Writes learning_curves, confusion_matrix, reliability and mistakes as PNG into `folder`.

    Args:
      folder: made if need be.
      rows: of the metric log.
      found: predictions over `source`.
      source: the split, from which the mistaken examples are read.
    """
    logits, labels, classes = found.outputs["logits"], found.labels, source.spec.classes
    learning_curves(rows, folder / "learning_curves.png")
    confusion_matrix(classification.confusion_matrix(logits, labels), classes, folder / "confusion_matrix.png")
    reliability_diagram(classification.reliability(logits, labels), folder / "reliability.png")
    gallery.mistakes_gallery(source, found.positions, labels, logits, folder / "mistakes.png")


def predicted(found: Predictions, classes: Sequence[str], top: int = 5) -> list[list[tuple[str, float]]]:
    """The `top` most probable classes of each example, with their probabilities."""
    probabilities = softmax(found.outputs["logits"], axis=-1)
    return [[(classes[k], float(row[k])) for k in np.argsort(-row, kind="stable")[:top]] for row in probabilities]


def annotate(image: np.ndarray, found: Predictions, position: int, classes: Sequence[str], path: Path) -> None:
    """Draws one example with its most probable classes."""
    gallery.annotate(image, softmax(found.outputs["logits"], axis=-1)[position], classes, path)
