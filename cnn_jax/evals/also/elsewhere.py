"""The task's own scores on another source: another domain, corrupted copies, a newer test set."""

from typing import Any

from cnn_jax.data.source import Splits, in_memory, opened, split_of
from cnn_jax.data.spec import Spec, kinds
from cnn_jax.evals.also import Evaluation
from cnn_jax.lookup import lookup


def elsewhere(
    task: Any, spec: Spec, splits: Splits, *, source: str, split: str = "test", name: str = "", every: str = ""
) -> tuple[Evaluation, ...]:
    """Scores `split` of another source, as "folder:PATH", whose fields and classes must be those of the run.

    name: under which its numbers appear, by default the source's. every: as "5 epochs", by default with the validation.
    Raises ValueError where the source holds other fields or classes.
    """
    found = split_of(opened(lookup(source)), split)
    if kinds(found.spec.fields) != kinds(spec.fields) or found.spec.classes != spec.classes:
        raise ValueError(f"evaluate.also: '{source}' has other fields or classes than the data of the run")
    return (Evaluation(name or found.spec.name.rpartition("/")[2], in_memory(found), task.evaluator, every=every),)
