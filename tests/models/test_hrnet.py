"""The exchange between resolutions, at sizes that no power of two divides too."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.hrnet import Exchange, enlarge, hrnet_w18
from cnn_jax.models.layers import BatchNorm, Conv


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarge_repeats_the_nearest(factor: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 1)).astype(np.float32)
    like = np.zeros((2, 3 * factor - 1, 2 * factor, 5))
    rows, columns = np.arange(like.shape[1]) // factor, np.arange(like.shape[2]) // factor
    np.testing.assert_array_equal(enlarge(jnp.asarray(x), factor, jnp.asarray(like)), x[:, rows][:, :, columns])


def test_exchange_adds_what_is_brought() -> None:
    """Silent blocks leave relu(x); of the resampled maps only that from the smallest to the largest is not silent."""
    module = Exchange(1, conv=partial(Conv, use_bias=False), norm=BatchNorm, act=nn.relu)
    rng = np.random.default_rng(0)
    shapes = ((9, 6, 2), (5, 3, 4), (3, 2, 8))
    maps = [rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes]
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), maps)
    params = variables["params"]
    for name in params:
        if name.startswith("branch"):
            params[name]["norm2"]["scale"] *= 0
        elif "_norm" in name and name != "from3_to1_norm1":
            params[name]["scale"] *= 0
    assert params["from1_to3_conv1"]["kernel"].shape == (3, 3, 2, 2)  # only the last halving changes the width
    assert params["from1_to3_conv2"]["kernel"].shape == (3, 3, 2, 8)
    outputs = jax.jit(partial(module.apply, train=False))(variables, maps)
    small, middle, large = (np.maximum(x, 0) for x in maps[::-1])
    brought = small @ params["from3_to1_conv1"]["kernel"][0, 0] / np.sqrt(1 + 1e-5)
    brought = brought.repeat(4, 1).repeat(4, 2)[:, :9, :6]
    np.testing.assert_allclose(outputs[0], np.maximum(large + brought, 0), atol=1e-5)
    np.testing.assert_allclose(outputs[1], middle, atol=1e-6)
    np.testing.assert_allclose(outputs[2], small, atol=1e-6)


def test_any_size() -> None:
    module = hrnet_w18(blocks=(1, 1, 1, 1), exchanges=(1, 1, 1))
    x = jnp.ones((1, 33, 50, 3))
    _, maps = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, train=False)[0], x)
    for i, width in enumerate((18, 36, 72, 144), 1):
        stride = 2 ** (i + 1)
        assert maps[f"branch{i}"].shape == (1, -(-33 // stride), -(-50 // stride), width)
    assert maps["head"].shape == (1, 2, 2, 2048)
