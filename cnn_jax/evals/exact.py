"""Sums of floats without any rounding, so that they depend neither on the order nor on the grouping of the terms.

A float64 is a whole number of 53 bits times a power of two. The whole numbers are added up for each power apart, in two
halves that cannot overflow before 2^36 terms, and put together at the end.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

POWERS = 2100  # from the smallest subnormal, 2^-1074, to the largest number
HALF = 27  # bits of the lower half

Totals = NDArray[np.int64]


def start(columns: int) -> Totals:
    """Totals [columns, POWERS, 2] of no terms."""
    return np.zeros((columns, POWERS, 2), np.int64)


def add(totals: Totals, values: NDArray[np.float64]) -> Totals:
    """Totals with the terms values [N, columns], which must be finite; the old totals are used up."""
    part, power = np.frexp(values)
    whole = np.ldexp(part, 53).astype(np.int64)
    place = 2 * (POWERS * np.arange(values.shape[1]) + power + 1074)  # a subnormal has power -1073 at least
    totals = np.ascontiguousarray(totals)
    flat = totals.reshape(-1)  # along one axis NumPy adds several times as fast
    np.add.at(flat, place.ravel(), (whole & ((1 << HALF) - 1)).ravel())
    np.add.at(flat, place.ravel() + 1, (whole >> HALF).ravel())
    return totals


def sums(totals: Totals) -> NDArray[np.float64]:
    """The sums [columns], each rounded once."""
    return np.array([_sum(column) for column in totals])


def _sum(column: NDArray[np.int64]) -> float:
    whole = 0
    for power in np.flatnonzero(column.any(1)).tolist():
        low, high = column[power].tolist()
        whole += ((high << HALF) + low) << power
    return float(Fraction(whole, 1 << (1074 + 53)))  # power p stands for whole numbers of 2^(p - 1074 - 53)
