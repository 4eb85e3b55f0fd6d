"""What is evaluated during a training, how often, what came of it, and whether the training goes on."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from cnn_jax.config import extensions
from cnn_jax.data.source import Splits, in_memory, split_of
from cnn_jax.evals.also import Evaluation
from cnn_jax.evals.evaluator import digits, plain, to_json
from cnn_jax.lookup import did_you_mean
from cnn_jax.report.progress import Say
from cnn_jax.train.evaluate import evaluate_also
from cnn_jax.train.loop import Verdict
from cnn_jax.train.patience import Standing, criterion, standing
from cnn_jax.train.run import Run, predictor_of
from cnn_jax.train.state import State
from cnn_jax.train.steps import in_steps

VALIDATION = "validation"  # the split, and the name of its rows in the log
LINES = 100  # of validations that a whole run shows at most, evenly chosen; the log has them all

Write = Callable[[int, str, Mapping[str, Any]], None]


class Evaluations:
    """The evaluations of a run: the validation split, where there is one, and those of `evaluate.also`.

    validation: the split, read once.
    last: {name: numbers and intervals, as JSON} of the latest time that each was done in this session.
    history: (step, score) of the validations since the run began, in this session or before, by `criterion`.
    shown: of so many validations one is shown.
    until: the training stops at the first validation from this step on, to go on another time; 0 = it does not.
    """

    def __init__(self, run: Run, splits: Splits, until: int = 0) -> None:
        self.until = until
        self.run, self.last, self.history = run, dict[str, dict[str, Any]](), list[tuple[int, float]]()
        self.criterion = criterion(run.config.evaluate.best_by, run.task.headline)
        found = list(run.config.evaluate.also(run.task, run.spec, splits))
        self.validation = in_memory(split_of(splits, VALIDATION)) if run.config.data.validation else None
        if self.validation is not None:
            found.insert(0, Evaluation(VALIDATION, self.validation, run.task.evaluator))
        self.every = [(one, self._steps(one.every)) for one in found]
        validations = -(-run.steps.total // run.steps.evaluate) if run.steps.evaluate else 1
        self.shown = -(-validations // LINES)

    def recall(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes the history from the rows of the log that a run goes on with."""
        self.history = [(row["step"], self.criterion.of(row)) for row in rows if row["split"] == VALIDATION]

    def standing(self) -> Standing:
        """The best validation so far, and how many have followed."""
        config = self.run.config
        return standing(self.history, config.evaluate.patience, extensions(config.extended))

    def over(self) -> bool:
        """Whether the training has ended for want of a better validation."""
        return 0 < self.run.config.evaluate.patience <= self.standing().waited

    def stopped(self) -> bool:
        """Whether the validation at which the training stops is behind it."""
        return 0 < self.until <= max((step for step, _ in self.history), default=0)

    def due(self, step: int) -> bool:
        """Whether anything is evaluated after `step`."""
        return any(self.run.steps.due(step, every) for _, every in self.every)

    def evaluate(self, step: int, state: State, write: Write, say: Say, waiting: Callable[[], Any]) -> Verdict:
        """Evaluates what is due, writes a row of the log for each, shows the validation, and says what follows.

        With patience a state that is the best so far must be kept, and the training ends when it is over. Nothing is
        written until all is evaluated. Batches are waited for within `waiting`, which may end it.
        """
        steps = self.run.steps
        found = self._scores([one for one, every in self.every if steps.due(step, every)], state, waiting)
        for name, numbers in found.items():
            write(step, name, {**numbers, "epoch": step / steps.per_epoch})
        if VALIDATION not in found:
            return Verdict()
        numbers = found[VALIDATION]
        if self.run.config.evaluate.best_by and self.criterion.name not in numbers:
            near = did_you_mean(self.criterion.name, numbers)
            raise ValueError(f"evaluate.best_by = '{self.run.config.evaluate.best_by}' is no score: {near}")
        score = self.criterion.of(numbers)
        self.history.append((step, score))
        best, patience = self.standing().step == step, self.run.config.evaluate.patience
        verdict = Verdict(score, keep=best and patience > 0, end=self.over(), stop=self.stopped())
        if verdict.end or steps.due(step, self.shown * steps.evaluate):
            say(self._words(step, numbers), marked=best)
        return verdict

    def _words(self, step: int, numbers: Mapping[str, float]) -> list[str]:
        """A validation as it is shown, in columns of one width for the whole run."""
        steps, patience, now = self.run.steps, self.run.config.evaluate.patience, self.standing()
        epoch, last = step / steps.per_epoch, f"{steps.total / steps.per_epoch:.2f}"
        best = "" if now.step is None else f"(best {self.criterion.sign * now.score:.4f})"
        waited = f"patience {now.waited} of {patience}" if patience else best
        shown = dict.fromkeys(("loss", self.run.task.headline, self.criterion.name))
        return [
            f"{VALIDATION}  step {step:{len(str(steps.total))}}",
            f"epoch {epoch:{len(last)}.2f}",
            *(f"{name} {digits(numbers.get(name, math.nan))}" for name in shown),
            "best" if now.step == step else waited,
        ]

    def evaluate_all(self, state: State) -> None:
        """Does each evaluation again, for `last`."""
        self._scores([one for one, _ in self.every], state, nullcontext)

    def _scores(
        self, evaluations: list[Evaluation], state: State, waiting: Callable[[], Any]
    ) -> dict[str, dict[str, float]]:
        found, size = dict[str, dict[str, float]](), self.run.config.evaluate.batch_size
        for one in evaluations:
            scores = evaluate_also(predictor_of(self.run, state), one, size, waiting=waiting)
            found[one.name], self.last[one.name] = plain(scores), to_json(scores)
        return found

    def _steps(self, duration: str) -> int:
        steps, config = self.run.steps, self.run.config
        if not duration:
            return steps.evaluate
        size = config.data.batch_size
        return in_steps(duration, examples=self.run.examples, batch_size=size, total=steps.total)
