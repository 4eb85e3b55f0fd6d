"""Intervals over seeds, against published quantiles and against many draws."""

import numpy as np
import pytest

from cnn_jax.evals import seeds


def test_a_mean_has_the_interval_of_students_t() -> None:
    # t of 97.5 % with 2 degrees of freedom is 4.30265, with 1 it is 12.7062 (any table of Student's t).
    assert seeds.mean([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-5)
    assert seeds.mean([0.5, 0.7]) == pytest.approx((0.6, 0.6 - 12.7062 * 0.1, 0.6 + 12.7062 * 0.1), abs=1e-5)
    assert seeds.mean([0.5]) == (0.5, None, None)
    middle, low, high = seeds.means(np.array([[1.0, np.nan], [2.0, 1.0], [3.0, 1.0]]))
    assert middle[0] == 2 and low[0] == pytest.approx(2 - 4.30265 / 3**0.5, abs=1e-5) and np.isnan(high[1])


def test_a_difference_is_welchs() -> None:
    less, more = [27.5, 21.0, 19.0, 23.6, 17.0], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5]
    found = seeds.difference(less, more)
    # By hand: the means are 21.62 and 23.3667, the variances 16.772 and 4.48267, the degrees of freedom 5.752.
    assert found.value == pytest.approx(1.74667, abs=1e-5)
    assert found.high - found.value == pytest.approx(2.4722 * 2.02522, abs=2e-3)  # type: ignore[operator]
    assert seeds.difference([1.0, 1.0], [2.0, 2.0]) == (1.0, 1.0, 1.0)
    assert seeds.difference([1e308, -1e308], [1.0, 2.0]) == (1.5, -np.inf, np.inf)


def test_they_hold_the_truth_95_times_in_100() -> None:
    draw = np.random.default_rng(0).normal(3, 2, (4, 4000))
    _, low, high = seeds.means(draw[:3])
    assert np.mean((low < 3) & (3 < high)) == pytest.approx(0.95, abs=0.012)
