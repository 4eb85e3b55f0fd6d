"""What is evaluated during a training, how often, and what came of it last."""

from collections.abc import Callable, Mapping
from typing import Any

from cnn_jax.data.source import Splits, in_memory, split_of
from cnn_jax.evals.also import Evaluation
from cnn_jax.evals.evaluator import plain, to_json
from cnn_jax.train.evaluate import evaluate_also
from cnn_jax.train.run import Run, predictor_of
from cnn_jax.train.state import State
from cnn_jax.train.steps import in_steps

VALIDATION = "validation"  # the split, and the name of its rows in the log

Write = Callable[[int, str, Mapping[str, Any]], None]


class Evaluations:
    """The evaluations of a run: the validation split, where there is one, and those of `evaluate.also`.

    validation: the split, read once.
    last: {name: numbers and intervals, as JSON} of the latest time that each was done in this session.
    """

    def __init__(self, run: Run, splits: Splits) -> None:
        self.run, self.last = run, dict[str, dict[str, Any]]()
        found = list(run.config.evaluate.also(run.task, run.spec, splits))
        self.validation = in_memory(split_of(splits, VALIDATION)) if run.config.data.validation else None
        if self.validation is not None:
            found.insert(0, Evaluation(VALIDATION, self.validation, run.task.evaluator))
        self.every = [(one, self._steps(one.every)) for one in found]

    def due(self, step: int) -> bool:
        """Whether anything is evaluated after `step`."""
        return any(self.run.steps.due(step, every) for _, every in self.every)

    def evaluate(self, step: int, state: State, write: Write, waiting: Callable[[], Any]) -> dict[str, float]:
        """Evaluates what is due, writes a row of the log for each, and returns the validation's scores, if any.

        Nothing is written until all is evaluated. Batches are waited for within `waiting`, which may end it.
        """
        steps, found = self.run.steps, dict[str, dict[str, float]]()
        size = self.run.config.evaluate.batch_size
        for one, every in self.every:
            if steps.due(step, every):
                scores = evaluate_also(predictor_of(self.run, state), one, size, waiting=waiting)
                found[one.name], self.last[one.name] = plain(scores), to_json(scores)
        for name, numbers in found.items():
            write(step, name, {**numbers, "epoch": step / steps.per_epoch})
        return found.get(VALIDATION, {})

    def _steps(self, duration: str) -> int:
        steps, config = self.run.steps, self.run.config
        if not duration:
            return steps.evaluate
        size = config.data.batch_size
        return in_steps(duration, examples=self.run.examples, batch_size=size, total=steps.total)
