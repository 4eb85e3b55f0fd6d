"""Which positions a reshape reads, against arrays of positions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.inspect.index_maps import Interval, links
from cnn_jax.inspect.program import Step, Value


def reshape(before: tuple[int, ...], after: tuple[int, ...], box: list[Interval]) -> list[Interval]:
    """What is read along each axis of x [before] for the `box` of positions of x.reshape(after)."""
    kinds = [Value(np.zeros(shape)) for shape in (before, after)]
    found = links(Step("reshape", {}, kinds[:1], kinds[1:], ""), 0, 0)
    assert found is not None
    return [
        link.read([box[axis] for axis in link.axes]) if link.read else (0, n - 1)
        for link, n in zip(found, before, strict=True)
    ]


@st.composite
def shapes_and_box(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], list[Interval]]:
    """Two shapes of the same size, cut from the same prime factors, and a box in the second."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))

    def cut() -> tuple[int, ...]:
        places = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
        return tuple(math.prod(factors[a:b]) for a, b in zip([0, *places], [*places, len(factors)], strict=True))

    before, after = cut(), cut()
    ends = [sorted(draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2))) for n in after]
    return before, after, [(low, high) for low, high in ends]


@given(shapes_and_box())
@settings(max_examples=200, deadline=None)
def test_reshape_reads_at_least_what_it_must_and_one_position_exactly(example) -> None:
    before, after, box = example
    positions = np.arange(math.prod(before)).reshape(after)
    for exact in (False, True):
        if exact:
            box = [(low, low) for low, _ in box]
        inside = positions[tuple(slice(low, high + 1) for low, high in box)].ravel()
        needed = [(int(axis.min()), int(axis.max())) for axis in np.unravel_index(inside, before)]
        found = reshape(before, after, box)
        assert all(a[0] <= b[0] and b[1] <= a[1] for a, b in zip(found, needed, strict=True))
        assert found == needed or not exact


@pytest.mark.parametrize("position", [-1, 0, 5, 9])
def test_windows_of_a_reshape_go_on_beyond_the_ends(position: int) -> None:
    """[B, 12, C] as [B, 6, 2, C], as average pooling does it, and back."""
    split = reshape((1, 12, 3), (1, 6, 2, 3), [(0, 0), (position, position), (0, 1), (0, 2)])
    assert split == [(0, 0), (2 * position, 2 * position + 1), (0, 2)]
    joined = reshape((1, 6, 2, 3), (1, 12, 3), [(0, 0), (position, position), (0, 2)])
    assert joined == [(0, 0), (position // 2,) * 2, (position % 2,) * 2, (0, 2)]
