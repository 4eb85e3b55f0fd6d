"""Pooling against Flax's window reductions, gradients included."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops.pooling import avg_pool, max_pool

# x shape, window, strides, padding
CASES = [
    ((2, 8, 6, 3), (2, 2), (2, 2), "VALID"),
    ((2, 9, 7, 3), (3, 3), (2, 2), "SAME"),
    ((2, 9, 7, 3), (3, 2), (1, 3), ((1, 0), (1, 1))),
    ((2, 9, 7, 3), (2, 3), (2, 3), ((0, 1), (2, 1))),
    ((3, 11, 2), (4,), (4,), "VALID"),
    ((3, 11, 2), (3,), (2,), ((1, 1),)),
    ((2, 5, 4, 6, 2), (2, 2, 3), (2, 1, 2), "SAME"),
]


def value_and_pullback(f: Callable, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y, pull = jax.vjp(f, x)
    return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[0]


def assert_same(ours: Callable, theirs: Callable, shape: tuple[int, ...]) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)  # no ties
    pair = jax.jit(lambda x: (value_and_pullback(ours, x), value_and_pullback(theirs, x)))
    for a, b in zip(*pair(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape, window, strides, padding", CASES)
def test_max_pool_equals_flax(shape: tuple, window: tuple, strides: tuple, padding: str | tuple) -> None:
    settings = dict(strides=strides, padding=padding)
    ours = functools.partial(max_pool, window=window, **settings)
    assert_same(ours, functools.partial(nn.max_pool, window_shape=window, **settings), shape)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("shape, window, strides, padding", CASES)
def test_avg_pool_equals_flax(
    shape: tuple, window: tuple, strides: tuple, padding: str | tuple, count_include_pad: bool
) -> None:
    settings = dict(strides=strides, padding=padding, count_include_pad=count_include_pad)
    ours = functools.partial(avg_pool, window=window, **settings)
    assert_same(ours, functools.partial(nn.avg_pool, window_shape=window, **settings), shape)


def test_numbers_stand_for_every_dimension_and_windows_tile_by_default() -> None:
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x, 2)[0, :, :, 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(avg_pool(x, 2)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(max_pool(x, 3, 2, 1)[0, :, :, 0], [[5, 7], [13, 15]])


def test_gradient_of_ties_is_shared() -> None:
    gradient = jax.grad(lambda x: max_pool(x, 2).sum())(jnp.zeros((1, 4, 4, 1)))
    windows = gradient.reshape(2, 2, 2, 2)
    assert (gradient > 0).all()
    np.testing.assert_allclose(windows.sum((1, 3)), np.ones((2, 2)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32"])
def test_other_dtypes(dtype: str) -> None:
    x = jnp.asarray(np.random.default_rng(1).integers(-9, 9, (2, 7, 7, 3)), dtype)
    y = max_pool(x, 3, 2, 1)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype("float32"), nn.max_pool(x.astype("float32"), (3, 3), (2, 2), ((1, 1),) * 2))


def test_avg_pool_of_half_precision_sums_in_float32() -> None:
    x = jnp.ones((1, 32, 32, 1), jnp.bfloat16)  # 1024 ones: a bfloat16 sum sticks at 256
    assert avg_pool(x, 32).item() == 1 and avg_pool(x, 32, 1).item() == 1
    assert avg_pool(x, 32).dtype == jnp.bfloat16


def test_no_select_and_scatter_is_compiled() -> None:
    x = jnp.ones((2, 8, 8, 3))
    text = jax.jit(jax.grad(lambda x: (max_pool(x, 3, 2, 1) ** 2).sum())).lower(x).as_text()
    assert "select_and_scatter" not in text and "reduce_window" not in text


@pytest.mark.parametrize("arguments", [(5,), (2, 0), ((2, 2, 2),), (2, 2, ((1, 1),))])
@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_misfits_are_one_line_errors(pool: Callable, arguments: tuple) -> None:
    with pytest.raises(ValueError) as caught:
        pool(jnp.zeros((1, 4, 4, 1)), *arguments)
    assert "\n" not in str(caught.value)
