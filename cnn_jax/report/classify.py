"""The report of a classifier: how it learned, what it confuses, how sure it is, where it is confidently wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.prepare import Placement
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report import gallery
from cnn_jax.report.figures import confusion_matrix, learning_curves, printable, reliability_diagram

PANELS = {"loss": "loss", "top1": "top-1 accuracy"}
TOP = 5  # classes that are named for an example


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    """Writes learning_curves, confusion_matrix, reliability and mistakes as PNG into `folder`, made if need be."""
    tables, classes = scores.tables, source.spec.classes
    learning_curves(rows, folder / "learning_curves.png", PANELS)
    if "confusion" in tables:
        confusion_matrix(tables["confusion"], classes, folder / "confusion_matrix.png")
    reliability_diagram(tables["reliability"], folder / "reliability.png")
    total = int(tables["support"].sum())  # of a known class, and decoded
    wrong = total - _right(tables)
    gallery.mistakes_gallery(source, tables["mistakes"], folder / "mistakes.png", wrong=wrong, total=total)


def _right(tables: Mapping[str, np.ndarray]) -> int:
    """How many examples were given the class that they are of."""
    if "confusion" in tables:
        return int(np.trace(tables["confusion"]))
    true, predicted, count = tables["confusions"].T
    return int(count[true == predicted].sum())


def lines(scores: Scores, spec: Spec) -> list[str]:
    """The accuracy of each class."""
    found = ["accuracy by class:"]
    recalls, supports = scores.tables["recall"], scores.tables["support"]
    for label, recall, support in zip(spec.classes, recalls, supports, strict=True):
        found.append(f"  {printable(label):20} {f'{recall:.4f} of {support}' if support else 'no examples'}")
    return found


def predicted(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> list[str]:
    """The most probable classes of one example."""
    row = _probabilities(outputs["logits"])
    return [f"{row[k]:7.2%}  {printable(spec.classes[k])}" for k in np.argsort(-row, kind="stable")[:TOP]]


def annotate(example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], spec: Spec, path: Path) -> None:
    """Draws one example with its most probable classes."""
    first = example[next(iter(spec.inputs))]
    gallery.annotate(first, _probabilities(outputs["logits"]), spec.classes, path)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits [K], in float64; SciPy's takes as long to import as all the rest of a prediction."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()
