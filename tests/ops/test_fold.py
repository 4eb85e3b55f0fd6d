"""Squares of pixels as channels, and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops.fold import folded, unfolded


def test_squares_of_pixels_are_channels() -> None:
    x = np.arange(2 * 3 * 5 * 2).reshape(2, 3, 5, 2)
    found = np.asarray(folded(jnp.asarray(x), 2))
    assert found.shape == (2, 2, 3, 8)
    np.testing.assert_array_equal(found[1, 0, 1], x[1, :2, 2:4].ravel())
    assert found[1, 1, 2].tolist() == [*x[1, 2, 4].tolist(), *[0] * 6]  # beyond the picture


@pytest.mark.parametrize("side", [1, 2, 3])
def test_unfolding_undoes_it(side: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 4, 3)).astype(np.float32)
    found = np.asarray(unfolded(folded(jnp.asarray(x), side), side))
    np.testing.assert_array_equal(found[:, :7, :4], x)
    assert not found[:, 7:].any() and not found[:, :, 4:].any()
