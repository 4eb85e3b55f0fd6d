"""Early stopping: where a run stands by its validation, and when waiting for a better one has lasted long enough.

Pure functions of the scores of all evaluations since the run began, which the log keeps, and of nothing else: a run
that was killed and goes on comes to the same decisions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

History = Sequence[tuple[int, float]]  # (step, score) of the evaluations of the validation split, in order


class Standing(NamedTuple):
    """The best evaluation so far, the first of equals, and how many have followed without a better one.

    step: of the best one, 0 where there is none yet.
    """

    step: int = 0
    score: float = -math.inf
    waited: int = 0


def standing(history: History) -> Standing:
    """Where a run stands after the evaluations in `history`; a score that is nan is never better."""
    now = Standing()
    for step, score in history:
        now = Standing(step, score) if score > now.score else now._replace(waited=now.waited + 1)
    return now


def is_over(history: History, patience: int) -> bool:
    """Whether the last `patience` evaluations were all without a better score; never where that is 0."""
    return 0 < patience <= standing(history).waited
