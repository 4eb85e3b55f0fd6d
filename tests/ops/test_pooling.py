"""Pooling against Flax's window reductions, gradients included, and against its definition in NumPy."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.ops.pooling import adaptive_avg_pool, avg_pool, max_pool

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


def max_of_windows(x: np.ndarray, window: int, stride: int, padding: int) -> list[float]:
    """Windows in turn for as long as they start inside x [L] or its left padding, and some position is not covered."""
    padded = np.pad(x, padding, constant_values=-np.inf)
    result, start = [], 0
    while start < padding + len(x) and (start == 0 or start - stride + window < len(padded)):
        result.append(padded[start : start + window].max())
        start += stride
    return result


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_ceil_mode_has_a_window_for_every_position(data: st.DataObject) -> None:
    window, stride = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    padding = data.draw(st.integers(0, window // 2))
    length = data.draw(st.integers(max(1, window - 2 * padding), 12))
    x = jax.ShapeDtypeStruct((1, length, 1), "float32")
    pool = functools.partial(max_pool, window=window, strides=stride, padding=padding, ceil_mode=True)
    assert jax.eval_shape(pool, x).shape[1] == len(max_of_windows(np.zeros(length), window, stride, padding))


def test_ceil_mode_takes_the_largest_of_what_each_window_covers() -> None:
    x = np.random.default_rng(0).normal(size=9).astype(np.float32) - 9  # a zero of the padding would win
    cases = [(window, stride, padding) for window in (2, 3) for stride in (2, 3, 4) for padding in (0, 1)]
    pools = jax.jit(lambda x: [max_pool(x, *case, ceil_mode=True)[0, :, 0] for case in cases])
    for case, y in zip(cases, pools(x[None, :, None]), strict=True):
        np.testing.assert_array_equal(y, max_of_windows(x, *case))


def test_ceil_mode_is_decided_for_each_dimension() -> None:
    x = jnp.arange(20.0).reshape(1, 5, 4, 1)
    np.testing.assert_array_equal(max_pool(x, 3, 2, ceil_mode=True)[0, :, :, 0], [[10, 11], [18, 19]])
    np.testing.assert_array_equal(max_pool(x, 3, 2)[0, :, :, 0], [[10], [18]])
    # a third window would start behind the last position, in the padding
    np.testing.assert_array_equal(max_pool(x, 2, (4, 2), 1, ceil_mode=True)[0, :, :, 0], [[0, 2, 3], [16, 18, 19]])
    assert max_pool(x[:, :2, :2], 3, 2, ceil_mode=True).item() == 5  # one window, larger than x


@pytest.mark.parametrize(("shape", "size"), [((2, 13, 7, 3), (6, 7)), ((2, 2, 1, 3), (7, 3)), ((1, 9, 2), (4,))])
def test_adaptive_avg_pool_is_the_mean_of_each_bin(shape: tuple, size: tuple) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y = jax.jit(functools.partial(adaptive_avg_pool, size=size))(x)
    assert y.shape == (shape[0], *size, shape[-1])
    for bins in np.ndindex(*size):
        inside = [
            slice(int(np.floor(i * n / k)), int(np.ceil((i + 1) * n / k)))
            for i, n, k in zip(bins, shape[1:-1], size, strict=True)
        ]
        wanted = x[:, *inside].mean(tuple(range(1, x.ndim - 1)))
        np.testing.assert_allclose(y[:, *bins], wanted, rtol=1e-5, atol=1e-6)


def test_adaptive_avg_pool_tiles_keeps_and_sums_in_float32() -> None:
    x = jnp.arange(24.0).reshape(1, 4, 6, 1)
    np.testing.assert_array_equal(adaptive_avg_pool(x, 2), avg_pool(x, (2, 3)))
    np.testing.assert_array_equal(adaptive_avg_pool(x, (4, 6)), x)
    ones = jnp.ones((1, 32, 64, 1), jnp.bfloat16)  # 2048 ones: a bfloat16 sum sticks at 256
    assert adaptive_avg_pool(ones, 1).item() == 1 and adaptive_avg_pool(ones, 1).dtype == jnp.bfloat16


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


@pytest.mark.parametrize("size", [0, (2,), (2, 2, 2)])
def test_misfits_of_adaptive_avg_pool_are_one_line_errors(size: int | tuple) -> None:
    with pytest.raises(ValueError, match=r"^size must be .+$"):
        adaptive_avg_pool(jnp.zeros((1, 4, 4, 1)), size)


@pytest.mark.parametrize("arguments", [(5,), (2, 0), ((2, 2, 2),), (2, 2, ((1, 1),))])
@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_misfits_are_one_line_errors(pool: Callable, arguments: tuple) -> None:
    with pytest.raises(ValueError) as caught:
        pool(jnp.zeros((1, 4, 4, 1)), *arguments)
    assert "\n" not in str(caught.value)
