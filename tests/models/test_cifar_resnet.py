"""Thin ResNets against the paper's layer table in closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.anatomy import count_macs, count_params
from cnn_jax.models import cifar_resnet
from cnn_jax.models.cifar_resnet import resnet20, resnet20_b, zero_padding
from cnn_jax.models.variant import Variant


def closed_form(depth: int, size: int, channels: int) -> tuple[int, int]:
    """(params, MACs) of 6n + 2 layers with option A: stem, n blocks of two 3x3 convolutions for 16, 32, 64, linear."""
    n = (depth - 2) // 6
    params, macs = 9 * channels * 16 + 2 * 16, size**2 * 9 * channels * 16
    before = 16
    for stage, width in enumerate((16, 32, 64)):
        inner = [9 * before * width] + [9 * width * width] * (2 * n - 1)
        params += sum(inner) + 2 * n * 2 * width
        macs += (size // 2**stage) ** 2 * sum(inner)
        before = width
    return params + 650, macs + 640


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_counts_in_closed_form(depth: int) -> None:
    variant: Variant = getattr(cifar_resnet, f"resnet{depth}")
    assert (variant.params, variant.macs) == closed_form(depth, 32, 3)


def test_option_b_adds_two_projections() -> None:
    assert resnet20_b.params - resnet20.params == (16 * 32 + 64) + (32 * 64 + 128)
    assert resnet20_b.macs - resnet20.macs == 16**2 * 16 * 32 + 8**2 * 32 * 64


def test_grey_28x28_counts() -> None:
    assert count_params(resnet20(), (28, 28, 1)) == 269_434 == closed_form(20, 28, 1)[0]
    assert count_macs(resnet20(), (28, 28, 1)) == 30_821_248 == closed_form(20, 28, 1)[1]


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (33, 47), (1, 5)])
@pytest.mark.parametrize("variant", [resnet20, resnet20_b])
def test_each_stage_halves_any_size_upwards(variant: Variant, shape: tuple[int, int]) -> None:
    x = jnp.ones((1, *shape, 3))
    _, maps = jax.eval_shape(lambda x: variant().init_with_output(jax.random.key(0), x, train=False)[0], x)
    for name, stride, width in (("stem", 1, 16), ("stage1", 1, 16), ("stage2", 2, 32), ("stage3", 4, 64)):
        assert maps[name].shape == (1, -(-shape[0] // stride), -(-shape[1] // stride), width)


def test_zero_padding_shortcut() -> None:
    x = np.arange(1 * 5 * 4 * 2, dtype=np.float32).reshape(1, 5, 4, 2) + 1
    unused: Any = None
    y = zero_padding(jnp.asarray(x), 5, 2, conv=unused, norm=unused, train=True)
    assert y.shape == (1, 3, 2, 5)
    np.testing.assert_array_equal(y[..., 1:3], x[:, ::2, ::2])
    np.testing.assert_array_equal(y[..., [0, 3, 4]], 0)
    np.testing.assert_array_equal(zero_padding(jnp.asarray(x), 2, 1, conv=unused, norm=unused, train=True), x)
