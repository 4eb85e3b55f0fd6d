"""Wide ResNets against the paper's layer table in closed form, and the pre-activation block."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.anatomy import count_macs, count_params
from cnn_jax.models import wide_resnet
from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.variant import Variant
from cnn_jax.models.wide_resnet import WideBlock, wrn_16_4, wrn_28_10, wrn_40_4


def closed_form(depth: int, k: int, classes: int = 10, size: int = 32, channels: int = 3) -> tuple[int, int]:
    """(params, MACs): stem, three groups of (depth - 4) / 6 blocks of width 16k, 32k, 64k, a norm, linear."""
    n = (depth - 4) // 6
    params, macs, before = 9 * channels * 16, size**2 * 9 * channels * 16, 16
    for stage in range(3):
        width = 16 * k * 2**stage
        convs = 9 * before * width + (2 * n - 1) * 9 * width * width + before * width  # the last is the shortcut
        params += convs + 2 * before + (2 * n - 1) * 2 * width  # each convolution but the shortcut has a norm before it
        macs += (size // 2**stage) ** 2 * convs
        before = width
    return params + 2 * before + before * classes + classes, macs + before * classes


@pytest.mark.parametrize(("depth", "k"), [(16, 4), (16, 8), (28, 2), (28, 10), (40, 2), (40, 4)])
def test_counts_in_closed_form(depth: int, k: int) -> None:
    variant: Variant = getattr(wide_resnet, f"wrn_{depth}_{k}")
    assert (variant.params, variant.macs) == closed_form(depth, k)


def test_other_published_counts() -> None:
    assert count_params(wrn_28_10(classes=100), (32, 32, 3)) == 36_536_884
    assert count_params(wrn_28_10(), (28, 28, 1)) == 36_478_906
    assert count_params(wrn_40_4(), (28, 28, 1)) == 8_948_922
    assert count_macs(wrn_28_10(), (28, 28, 1)) == closed_form(28, 10, size=28, channels=1)[1]


def block(features: int, strides: int, dropout: float = 0.0) -> WideBlock:
    conv = partial(Conv, use_bias=False)
    return WideBlock(features, strides, dropout, conv=conv, norm=BatchNorm, act=nn.relu)


X = np.random.default_rng(0).normal(size=(2, 5, 5, 8)).astype(np.float32)


def test_identity_carries_the_input_untouched() -> None:
    variables = jax.jit(partial(block(8, 1).init, train=False))(jax.random.key(0), X)
    variables["params"]["conv2"]["kernel"] *= 0
    np.testing.assert_array_equal(jax.jit(partial(block(8, 1).apply, train=False))(variables, X), X)


def test_shortcut_reads_the_activated_input() -> None:
    """Nothing is left of a strongly negative input after the activation."""
    variables = jax.jit(partial(block(16, 2).init, train=False))(jax.random.key(0), X)
    run = jax.jit(partial(block(16, 2).apply, train=False))
    assert run(variables, X).shape == (2, 3, 3, 16)
    np.testing.assert_array_equal(run(variables, X - 100), 0)


def test_dropout_is_between_the_convolutions_only() -> None:
    module = block(8, 1, dropout=0.5)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), X)

    @jax.jit
    def run(variables: Any, seed: int) -> jax.Array:
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, X, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    assert (run(variables, 0) != run(variables, 1)).any()
    variables["params"]["conv2"]["kernel"] *= 0
    np.testing.assert_array_equal(run(variables, 0), X)


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (33, 47)])
def test_strides(shape: tuple[int, int]) -> None:
    x = jnp.ones((1, *shape, 3))
    module = wrn_16_4()
    _, maps = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, train=False)[0], x)
    for name, stride, width in (("stem", 1, 16), ("stage1", 1, 64), ("stage2", 2, 128), ("stage3", 4, 256)):
        assert maps[name].shape == (1, -(-shape[0] // stride), -(-shape[1] // stride), width)


@pytest.mark.parametrize("depth", [4, 17, 30])
def test_depth_must_be_6n_plus_4(depth: int) -> None:
    with pytest.raises(ValueError, match=rf"^depth {depth} is not 6n \+ 4"):
        wrn_16_4(depth=depth).init(jax.random.key(0), jnp.ones((1, 8, 8, 3)), train=False)
