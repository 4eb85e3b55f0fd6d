"""What a person looks at: the metric log, progress, figures; and one module for each kind of task."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cnn_jax.data.placement import Placement
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores

Row = dict[str, Any]  # {name of a column: text or number}


class Report(Protocol):
    """The module that draws and words the results of a task; `of` finds it.

    figures: writes pictures of the metric log's rows and of the scores on `source` into a folder.
    lines: what `eval` prints below the numbers.
    result: one example's outputs {name: [...]} as people use them from Python, a NamedTuple; where the example was read
      from a file, `placement` says where the picture lies in it, so that places are given in the picture's own pixels.
    rows: a result as the rows of a table, the most important first: a class, a box. All that is printed of an example,
      and all that CSV and JSON files hold, are these.
    words: a row as `predict` prints it.
    TOP, LEAST: how many rows of an example `predict` shows, None for all, and from which score on, unless its flags say
      otherwise.
    best: a result of the first `top` rows, None for all, of those with a score of `least` or more. One whose rows are
      not ranked is returned as it is.
    annotate: draws one example with its result: the picture [h, w, C] as it was before it was made an example (or the
      signal [L, C], the spectrum of a sound), and the height and width of it in whose pixels the result gives places.
    LONGEST: pixels of a side of that picture at most; of a larger one `annotate` is given a smaller copy.

    A report of results that rows cannot hold is `Filed`, too.
    """

    TOP: int | None
    LEAST: float
    LONGEST: int

    def figures(self, folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None: ...

    def lines(self, scores: Scores, spec: Spec) -> list[str]: ...

    def result(self, outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Any: ...

    def rows(self, result: Any) -> list[Row]: ...

    def words(self, row: Row) -> str: ...

    def best(self, result: Any, top: int | None, least: float) -> Any: ...

    def annotate(self, picture: np.ndarray, size: tuple[int, ...], result: Any, path: Path) -> None: ...


@runtime_checkable
class Filed(Protocol):
    """A report whose results are files beside rows, as the mask of a picture.

    files: writes those of one result. Their names are that of the picture which `annotate` draws, with other endings
      that `data.inputs.WRITTEN` knows. Returns {what it is: file}, as tables say them.
    """

    def files(self, result: Any, picture: Path) -> dict[str, Path]: ...


def of(name: str) -> Report:
    """The module that a task names as its `report`: of this package, or any other by its full name.

    Raises ValueError where there is none.
    """
    check(name)
    return importlib.import_module(_full(name))


def check(name: str) -> None:
    """Raises ValueError where there is no module `of(name)`; it is not imported, as drawing takes its time to start."""
    try:
        found = importlib.util.find_spec(_full(name))
    except ModuleNotFoundError:  # what holds it
        found = None
    if found is None:
        raise ValueError(f"the task's report '{_full(name)}' cannot be imported: add the folder it is in to PYTHONPATH")


def _full(name: str) -> str:
    return name if "." in name else f"cnn_jax.report.{name}"
