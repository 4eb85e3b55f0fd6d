"""Samples of positives and negatives: how many of each, and that they are random."""

import jax
import numpy as np
import pytest

from cnn_jax.ops.sampling import balanced


@pytest.mark.parametrize(
    "positives, negatives, good, bad",
    [
        (10, 80, 4, 12),  # at most a quarter
        (2, 80, 2, 14),  # negatives stand in
        (10, 3, 4, 3),  # positives do not
        (0, 5, 0, 5),
        (0, 0, 0, 0),
    ],
)
def test_how_many_of_each(positives: int, negatives: int, good: int, bad: int) -> None:
    draw = np.random.default_rng(0)
    kinds = draw.permutation(np.array([1] * positives + [0] * negatives + [-1] * (100 - positives - negatives)))
    rank = draw.normal(size=100).astype(np.float32)
    places, counts = jax.jit(lambda *arrays: balanced(*arrays, 16, 0.25))(rank, kinds == 1, kinds == 0)
    taken = np.asarray(places)[np.asarray(counts)]
    assert counts.tolist() == [i < good + bad for i in range(16)] and len(set(taken.tolist())) == good + bad
    assert kinds[taken].tolist() == [1] * good + [0] * bad
    for kind, part in ((1, taken[:good]), (0, taken[good:])):  # those of the highest rank
        wanted = np.flatnonzero(kinds == kind)
        assert set(part) == set(wanted[np.argsort(-rank[wanted])][: len(part)])
    if good + bad:  # the rest repeats them
        assert places.tolist() == np.resize(taken, 16).tolist()


def test_fewer_than_are_wanted_in_all() -> None:
    positive = np.array([True, False, False])
    places, counts = jax.jit(lambda *arrays: balanced(*arrays, 16, 0.5))(np.arange(3.0), positive, ~positive)
    assert places.tolist() == [0, 2, 1] and counts.all()
