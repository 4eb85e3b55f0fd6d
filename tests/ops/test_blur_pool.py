"""Blur pooling against its definition, and what it is for: shifting the input shifts the output."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops.blur_pool import blur_pool, max_blur_pool

X = np.random.default_rng(0).normal(size=(2, 9, 6, 3)).astype(np.float32)
FILTERS = {2: [1, 1], 3: [1, 2, 1], 4: [1, 3, 3, 1], 5: [1, 4, 6, 4, 1]}


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("window", FILTERS)
def test_is_the_definition(window: int, strides: int) -> None:
    taps = np.array(FILTERS[window]) / sum(FILTERS[window])
    low, high = (window - 1) // 2, window // 2
    padded = np.pad(X, ((0, 0), (low, high), (low, high), (0, 0)), mode="reflect")
    blurred = np.zeros_like(X)
    for i, j in np.ndindex(window, window):
        blurred += taps[i] * taps[j] * padded[:, i : i + 9, j : j + 6]
    np.testing.assert_allclose(blur_pool(jnp.asarray(X), strides, window), blurred[:, ::strides, ::strides], atol=1e-6)


def test_max_blur_pool_is_the_maximum_everywhere_then_a_blur() -> None:
    padded = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    dense = np.max([padded[:, i : i + 9, j : j + 6] for i, j in np.ndindex(3, 3)], axis=0)
    np.testing.assert_allclose(max_blur_pool(jnp.asarray(X)), blur_pool(jnp.asarray(dense)), atol=1e-6)


def test_the_finest_pattern_vanishes_instead_of_folding_into_a_constant() -> None:
    stripes = jnp.asarray((-1.0) ** np.arange(8)).reshape(1, 8, 1)
    assert (stripes[:, ::2] == 1).all()  # what a stride alone makes of it
    np.testing.assert_allclose(blur_pool(stripes), 0, atol=1e-7)


def test_one_position_any_rank_and_type() -> None:
    one = jnp.full((1, 1, 1, 2), 3.0, jnp.bfloat16)
    np.testing.assert_array_equal(blur_pool(one), one)
    assert blur_pool(one).dtype == jnp.bfloat16
    np.testing.assert_allclose(blur_pool(jnp.arange(4.0).reshape(1, 4, 1)).ravel(), [0.5, 2.0])
