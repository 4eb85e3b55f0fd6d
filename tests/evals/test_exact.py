"""Sums without rounding against `math.fsum` and against fractions."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnn_jax.evals import exact

SMALLEST, LARGEST = 5e-324, sys.float_info.max
NUMBERS = st.floats(-1e300, 1e300) | st.floats(-1e-300, 1e-300) | st.floats(-10, 10)


def total(values: list[float]) -> exact.Totals:
    return exact.add(exact.start(1), np.array(values, np.float64).reshape(-1, 1))


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, max_size=30))
@example([1e16, 1.0, -1e16])
@example([SMALLEST, SMALLEST, -SMALLEST])
@example([sys.float_info.min, -SMALLEST])
@example([1.0, 2.0**-53, SMALLEST])  # just above the middle of two floats
@example([0.1] * 10)
@example([-0.0, 0.0])
def test_sums_are_those_of_fsum(values):
    assert exact.sums(total(values))[0] == math.fsum(values)


def test_the_largest_and_the_smallest_numbers():
    values = [LARGEST, LARGEST, SMALLEST, -LARGEST]  # at which fsum itself gives up
    assert exact.sums(total(values))[0] == float(sum(map(Fraction, values))) == LARGEST
    assert exact.sums(total([-LARGEST, SMALLEST]))[0] == -LARGEST
    with pytest.raises(OverflowError):
        exact.sums(total([LARGEST, LARGEST]))


@settings(max_examples=50, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=30), st.integers(0, 30), st.randoms())
def test_order_and_grouping_do_not_change_a_bit(values, cut, random):
    shuffled = random.sample(values, len(values))
    parts = total(shuffled[:cut]) + total(shuffled[cut:])
    np.testing.assert_array_equal(parts, total(values))


def test_columns_are_summed_apart():
    values = np.random.default_rng(0).normal(size=(1000, 3)) * 10.0 ** np.arange(0, 60, 20)
    totals = exact.start(3)
    for part in np.array_split(values, 7):
        totals = exact.add(totals, part)
    assert exact.sums(totals).tolist() == [math.fsum(column) for column in values.T]


def test_a_million_terms_do_not_overflow():
    values = np.full((2**20, 1), np.nextafter(2.0, 0))  # 53 bits that are all 1
    assert exact.sums(exact.add(exact.start(1), values))[0] == 2**20 * np.nextafter(2.0, 0)
