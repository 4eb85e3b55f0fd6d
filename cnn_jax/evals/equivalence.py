"""Whether a published score has been reached: an equivalence test over training seeds.

That an interval holds the published score proves nothing: a wide one holds every score. So a margin is stated before
anything is run, and the score counts as reached where the whole interval lies within it, which is the test of two
one-sided hypotheses (Schuirmann 1987), each at 2.5 % as the interval has 95 %.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from cnn_jax.evals import seeds

REPRODUCED, BETTER, NOT_REPRODUCED, UNDECIDED = "reproduced", "better", "not reproduced", "undecided"
MOST = 1000  # seeds that are thought of
ROUNDING = 1e-9  # of sums of floats


class Verdict(NamedTuple):
    """What the seeds say. more: as many again would decide it if their mean and spread stay, None where not known."""

    word: str
    more: int | None = None

    def __str__(self) -> str:
        """As a table says it."""
        if self.word != UNDECIDED:
            return self.word
        more = f"{self.more} more seeds" if self.more else f"more than {MOST} seeds" if self.more == 0 else "more seeds"
        return f"{self.word}, {more}" if self.more != 1 else f"{self.word}, 1 more seed"


def verdict(values: Sequence[float], published: float, margin: float) -> Verdict:
    """The verdict on a score of which more is better.

    The 95 % interval of the mean within published ± margin: reproduced; wholly above: better; wholly below: not
    reproduced; else undecided, and `more` is 0 where more than MOST seeds would be needed. Of one seed nothing is
    known, whatever its score.
    """
    found, low, high = seeds.mean(values), published - margin - ROUNDING, published + margin + ROUNDING
    if found.low is None or found.high is None:
        return Verdict(UNDECIDED)
    if low <= found.low and found.high <= high:
        return Verdict(REPRODUCED)
    if found.low > high:
        return Verdict(BETTER)
    if found.high < low:
        return Verdict(NOT_REPRODUCED)
    room, spread = min(abs(found.value - low), abs(found.value - high)), statistics.stdev(values)
    counts = range(len(values) + 1, MOST + 1)
    enough = next((count for count in counts if seeds.half_interval(spread, count) < room), len(values))
    return Verdict(UNDECIDED, enough - len(values))
