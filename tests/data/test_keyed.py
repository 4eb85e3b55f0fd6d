"""Random numbers from keys: what they are for ever, and that they are random."""

import numpy as np
import pytest
from scipy import stats

from cnn_jax.data.keyed import mixed, uniform


def splitmix64(state: int) -> int:
    """One step as published (Steele, Lea & Flood 2014), in whole numbers without end."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def test_values_are_pinned() -> None:
    # The crops and intervals of every run ever made hang on these.
    assert [int(mixed(part)) for part in (0, 1, -1, 2**40)] == [
        16294208416658607535,
        10451216379200822465,
        16490336266968443936,
        2296115805719413641,
    ]
    assert (int(mixed(1, 2)), int(mixed(2, 1))) == (13608149317741381227, 16171810823986729605)
    assert int(mixed(1, 2, 3)) == 15020427595393229491
    assert uniform(mixed(7), 3).tolist() == [0.609394524568175, 0.9633517225922468, 0.2926433306793348]


@pytest.mark.parametrize("parts", [(0,), (5,), (1, 2), (2**64 - 1, 3, 2**40)])
def test_it_is_splitmix64_with_one_step_for_each_part(parts: tuple[int, ...]) -> None:
    key = 0
    for part in parts:
        key = splitmix64(key ^ part)
    assert int(mixed(*parts)) == key


def test_one_at_a_time_or_all_at_once() -> None:
    seeds, places = np.arange(3), np.arange(5)
    keys = mixed(seeds[:, None], 4, places)
    assert keys.shape == (3, 5) and keys.dtype == np.uint64
    for (row, column), key in np.ndenumerate(keys):
        assert key == mixed(row, 4, column)
    draws = uniform(keys, 7)
    assert draws.shape == (3, 5, 7)
    np.testing.assert_array_equal(draws[2, 3], uniform(keys[2, 3], 7))
    np.testing.assert_array_equal(draws[..., :4], uniform(keys, 4))
    np.testing.assert_array_equal(uniform(int(keys[0, 0]), 2), draws[0, 0, :2])


def test_order_of_the_parts_counts_and_none_collide() -> None:
    keys = mixed(np.arange(60)[:, None, None], np.arange(60)[:, None], np.arange(60))
    assert len(np.unique(keys)) == 60**3


def test_draws_are_uniform_and_independent() -> None:
    draws = uniform(mixed(3, np.arange(20_000)), 8)
    assert draws.min() >= 0 and draws.max() < 1
    for column in draws.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(draws.T) - np.eye(8)).max() < 0.04  # of one key
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.04  # of neighbours


def test_one_bit_of_a_key_turns_half_of_the_bits() -> None:
    keys = mixed(np.arange(500))
    for bit in (0, 17, 63):
        turned = np.bitwise_count(mixed(np.arange(500, dtype=np.uint64) ^ (np.uint64(1) << np.uint64(bit))) ^ keys)
        assert abs(turned.mean() - 32) < 1
