"""The verdict on a published score: every outcome, and what it says of chance."""

import numpy as np
import pytest

from cnn_jax.evals.equivalence import BETTER, MOST, NOT_REPRODUCED, REPRODUCED, UNDECIDED, verdict


@pytest.mark.parametrize(
    ("values", "published", "margin", "said"),
    [
        ([0.90, 0.91, 0.92], 0.91, 0.03, "reproduced"),  # ± .0248
        ([0.90, 0.91, 0.92], 0.91, 0.02, "undecided, 1 more seed"),  # of four: ± .0159
        ([0.90, 0.91, 0.92], 0.88, 0.005, "better"),
        ([0.90, 0.91, 0.92], 0.94, 0.005, "not reproduced"),
        ([0.90, 0.91, 0.92], 0.93, 0.02 - 1e-6, f"undecided, more than {MOST} seeds"),  # the mean lies on the edge
        ([0.90], 0.90, 0.01, "undecided, more seeds"),
        ([0.90, 0.90], 0.91, 0.01, "reproduced"),  # without spread the edge counts
    ],
)
def test_what_is_said_of_an_interval(values, published, margin, said):
    assert str(verdict(values, published, margin)) == said


def test_as_many_seeds_as_are_asked_for_decide_and_no_fewer():
    values = np.array([0.90, 0.91, 0.92])
    found = verdict(values.tolist(), 0.915, 0.012)
    assert found.word == UNDECIDED and found.more
    for count in (len(values) + found.more, len(values) + found.more - 1):
        spread = np.resize([-1.0, 1.0], count) * (count % 2 == 0) + np.linspace(-1, 1, count) * (count % 2)
        drawn = values.mean() + spread / spread.std(ddof=1) * values.std(ddof=1)
        assert (verdict(drawn.tolist(), 0.915, 0.012).word == REPRODUCED) == (count == len(values) + found.more)


def test_a_score_outside_the_margin_passes_as_reproduced_once_in_forty():
    """The size of the test: of means that lie on the edge, 2.5 % at most are said to be within."""
    draw = np.random.default_rng(0)
    said = [verdict(values, 0.5, 0.1).word for values in draw.normal(0.6, 0.02, (1000, 4)).tolist()]
    assert 0.015 < said.count(REPRODUCED) / len(said) < 0.035
    assert 0.015 < said.count(BETTER) / len(said) < 0.035 and NOT_REPRODUCED not in said
