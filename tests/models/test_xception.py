"""Separable convolutions as ordinary ones, and where Xception activates and pads."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.xception import SeparableConv, XceptionBlock, xception
from cnn_jax.ops.convolution import convolution

CONV = partial(Conv, use_bias=False)
X = np.random.default_rng(0).normal(size=(2, 5, 7, 4)).astype(np.float32)


def test_separable_convolution_is_one_of_a_factored_kernel() -> None:
    module = SeparableConv(6, CONV)
    variables = jax.jit(module.init)(jax.random.key(0), X)
    depthwise, pointwise = (variables["params"][name]["kernel"] for name in ("depthwise", "pointwise"))
    kernel = jnp.einsum("hwc,cd->hwcd", depthwise[:, :, 0], pointwise[0, 0])
    np.testing.assert_allclose(jax.jit(module.apply)(variables, X), convolution(X, kernel, padding=1), atol=1e-5)


@pytest.mark.parametrize("activated", [False, True])
def test_only_an_activated_input_is_not_activated_again(activated: bool) -> None:
    block = XceptionBlock((4, 4, 4), 1, activated, conv=CONV, norm=BatchNorm, act=nn.relu)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), X)
    run = jax.jit(partial(block.apply, train=False))
    positive = np.maximum(X, 0)
    branch, of_positive = run(variables, X) - X, run(variables, positive) - positive
    assert np.allclose(branch, of_positive, atol=1e-5) != activated


def test_strided_block_pools_the_branch() -> None:
    """3x3 windows of stride 2 around rows 0 and 2; the shortcut reads those rows only."""
    block = XceptionBlock((4, 6), 2, True, conv=CONV, norm=BatchNorm, act=nn.relu)
    x = X[:, :4, :6]  # for odd sizes SAME would be the same
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), x)
    y, outputs = jax.jit(partial(block.apply, train=False, capture_intermediates=True))(variables, x)
    branch, shortcut = (outputs["intermediates"][name]["__call__"][0] for name in ("norm2", "shortcut_norm"))
    padded = np.pad(branch, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_allclose(y, windows.max((-2, -1)) + shortcut, atol=1e-6)
    kernel = variables["params"]["shortcut_conv"]["kernel"][0, 0]
    np.testing.assert_allclose(shortcut, x[:, ::2, ::2] @ kernel / np.sqrt(1 + 1e-5), atol=1e-5)


def test_stem_is_not_padded() -> None:
    def stem(size: int) -> tuple[int, ...]:
        x = jnp.ones((1, size, 20, 3))
        _, maps = jax.eval_shape(
            lambda x: xception(blocks=(1, 1, 1, 1)).init_with_output(jax.random.key(0), x, train=False)[0], x
        )
        return maps["stem"].shape

    assert stem(7) == (1, 1, 7, 64)
    with pytest.raises(ValueError, match="^Xception reads .* of size 7 or more"):
        stem(6)
