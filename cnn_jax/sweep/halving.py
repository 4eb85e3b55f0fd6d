"""Asynchronous successive halving (ASHA): which configuration is trained further, decided without waiting for others.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), algorithm 2: a configuration that has
come to a rung goes on to the next one when it is among the best 1 / eta of those that have come to that rung so far.
"""

import math
from collections.abc import Mapping, Sequence


def promoted(done: Sequence[Mapping[str, float]], assigned: Mapping[str, int], eta: int) -> str | None:
    """The configuration that goes on to the rung after that which it has come to, None where a new one should begin.

    Args:
      done: of each rung, the last of which is the whole training, the scores of the configurations that have come to
        it, higher is better, of equals the first first. One that failed on the way has -inf or nan: it counts among
        those of its rung, and never goes on.
      assigned: the rung up to which each configuration is trained, or has been.
      eta: one of so many goes on.
    """
    for rung in reversed(range(len(done) - 1)):
        scores = {name: score if math.isfinite(score) else -math.inf for name, score in done[rung].items()}
        best = sorted(scores, key=lambda name: -scores[name])[: len(scores) // eta]
        for name in best:
            if assigned[name] == rung and scores[name] > -math.inf:
                return name
    return None


def needed(rungs: int, eta: int) -> int:
    """How many configurations it takes that one of them is trained to the end, past so many rungs."""
    return eta**rungs
