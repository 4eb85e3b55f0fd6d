"""The task's own scores on another source: another domain, corrupted copies, a newer test set."""

from typing import Any

from cnn_jax.data.scoring import scored
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import Spec
from cnn_jax.evals.also import Evaluation
from cnn_jax.lookup import lookup


def elsewhere(
    task: Any, spec: Spec, splits: Splits, *, source: str, split: str = "test", name: str = "", every: str = ""
) -> tuple[Evaluation, ...]:
    """Scores `split` of another source, as "folder:PATH", whose fields and classes must be those of the run.

    It is read as the data of the run, see `scored`. name: under which its numbers appear, by default the source's.
    every: as "5 epochs", by default with the validation.

    Raises ValueError where the source holds other fields or classes.
    """
    try:
        found = scored(lookup(source), split, spec)
    except ValueError as error:
        raise ValueError(f"evaluate.also: {error}") from None
    return (Evaluation(name or found.spec.name.rpartition("/")[2], found, task.evaluator, every=every),)
