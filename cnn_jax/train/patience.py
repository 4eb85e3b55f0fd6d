"""Early stopping: where a run stands by its validation, and when waiting for a better one has lasted long enough.

Pure functions of the scores of all evaluations since the run began, which the log keeps, and of nothing else: a run
that was killed and goes on comes to the same decisions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_jax.config import RESTART

CRITERION = "criterion"  # of the score that is kept with a checkpoint: its name and its sign

History = Sequence[tuple[int, float]]  # (step, score by the criterion) of the validations, in order


class Criterion(NamedTuple):
    """name: of the score by which the best state is chosen. sign: -1 where lower is better."""

    name: str
    sign: int = 1

    def of(self, scores: Mapping[str, float]) -> float:
        """The score among these, so that higher is better; nan where it is not there."""
        return self.sign * scores.get(self.name, math.nan)


def criterion(best_by: str, headline: str) -> Criterion:
    """Of the setting `evaluate.best_by` for a task with this headline: '-nll' is the lowest nll."""
    return Criterion(best_by[1:], -1) if best_by.startswith("-") else Criterion(best_by or headline)


class Standing(NamedTuple):
    """The best evaluation so far, the first of equals, and how many have followed without a better one.

    step: of the best one, None where there is none yet.
    """

    step: int | None = None
    score: float = -math.inf
    waited: int = 0


def standing(history: History, patience: int = 0, extended: Sequence[tuple[str, int]] = ()) -> Standing:
    """Where a run stands after the evaluations in `history`; a score that is nan is never better.

    extended: how and at which steps the run was made longer, see `config.extensions`. Waiting begins anew where it had
    been over, and where the schedule restarts.
    """
    now, before = Standing(), 0
    restarts, steps = [step for how, step in extended if how == RESTART], [step for _, step in extended]
    for step, score in history:
        if any(before < at < step for at in restarts):
            now = now._replace(waited=0)
        now = Standing(step, score) if score > now.score else now._replace(waited=now.waited + 1)
        if step in restarts or (step in steps and now.waited >= patience):
            now = now._replace(waited=0)
        before = step
    return now
