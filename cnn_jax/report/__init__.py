"""What a person looks at: the metric log, progress, figures; and one module for each kind of task."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cnn_jax.data.prepare import Placement
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores


class Report(Protocol):
    """The module that draws and words the results of a task; `of` finds it.

    figures: writes pictures of the metric log's rows and of the scores on `source` into a folder.
    lines: what `eval` prints below the numbers.
    predicted: what `predict` prints of one example, from its outputs {name: [...]}; where the example was read from a
      file, `placement` says where the picture lies in it, so that predictions are given in the picture's own pixels.
    annotate: draws one example, {input: [...]}, with what the model said of it.
    """

    def figures(self, folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None: ...

    def lines(self, scores: Scores, spec: Spec) -> list[str]: ...

    def predicted(self, outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> list[str]: ...

    def annotate(
        self, example: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], spec: Spec, path: Path
    ) -> None: ...


def of(name: str) -> Report:
    """The module that a task names as its `report`: of this package, or any other by its full name."""
    return importlib.import_module(name if "." in name else f"cnn_jax.report.{name}")
