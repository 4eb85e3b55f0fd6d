"""Further evaluations of a run, beside its own on the validation and the test split: `evaluate.also`.

Each is a function of (task, spec, splits) in a file of its own that returns a tuple of `Evaluation`. What they say is
logged, written and printed under their names; nothing else needs to know of them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from cnn_jax.data.source import Source, Splits
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Evaluator


class Evaluation(NamedTuple):
    """One evaluation.

    name: of its rows in the log and of its numbers, as "sketches".
    source: what it visits.
    evaluator: how it scores.
    predict: (variables, batch) -> outputs for the evaluator; None for the task's own.
    every: how often, as "5 epochs"; "" for as often as the validation split is scored. The last step always is.
    """

    name: str
    source: Source
    evaluator: Evaluator
    predict: Callable[[Any, Any], dict[str, Any]] | None = None
    every: str = ""


Also = Callable[[Any, Spec, Splits], tuple[Evaluation, ...]]


def nothing(task: Any, spec: Spec, splits: Splits) -> tuple[Evaluation, ...]:
    """No further evaluation."""
    return ()


def all_of(task: Any, spec: Spec, splits: Splits, *, parts: tuple[Also, ...] = ()) -> tuple[Evaluation, ...]:
    """What `several` makes: the evaluations of `parts`, one after another."""
    return tuple(evaluation for part in parts for evaluation in part(task, spec, splits))


def several(*parts: Also) -> Also:
    """Several further evaluations as one: `several(elsewhere(source='folder:a'), elsewhere(source='folder:b'))`."""
    return partial(all_of, parts=parts)
