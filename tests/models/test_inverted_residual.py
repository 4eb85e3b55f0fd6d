"""Inverted residuals: the block by its definition, where it adds its input, and how deep it is dropped."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.models import efficientnet, efficientnet_v2, mnasnet, mobilenet_v2, mobilenet_v3
from cnn_jax.models.attention import SqueezeExcite
from cnn_jax.models.drop import DropPath
from cnn_jax.models.inverted_residual import (
    FusedInvertedResidual,
    InvertedResidual,
    InvertedResidualNet,
    Stage,
    round_channels,
)
from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.variant import Variant

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 6, 4)).astype(np.float32)


def build(block: Any, **fields: Any) -> nn.Module:
    defaults = {"features": 4, "kernel": 3, "strides": 1, "expanded": 8, "norm": BatchNorm, "act": nn.relu6}
    return block(**defaults | {"conv": partial(Conv, use_bias=False)} | fields)


def init(module: nn.Module) -> Any:
    """Variables with no array at a special value."""
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), X)
    return jax.tree.map(lambda leaf: RNG.uniform(0.5, 1.5, leaf.shape).astype(np.float32), variables)


def normalise(x: np.ndarray, variables: Any, name: str) -> np.ndarray:
    params, stats = variables["params"][name], variables["batch_stats"][name]
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


@pytest.mark.parametrize(("strides", "features"), [(1, 4), (2, 4), (1, 3)])
def test_block_by_its_definition(strides: int, features: int) -> None:
    module = build(InvertedResidual, strides=strides, features=features)
    variables = init(module)
    params = variables["params"]

    y = X @ params["expand_conv"]["kernel"][0, 0]
    y = np.clip(normalise(y, variables, "expand_norm"), 0, 6)
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::strides, ::strides]
    y = np.einsum("bhwcij,ijc->bhwc", windows, params["depthwise_conv"]["kernel"][:, :, 0])
    y = np.clip(normalise(y, variables, "depthwise_norm"), 0, 6)
    y = normalise(y @ params["project_conv"]["kernel"][0, 0], variables, "project_norm")
    if strides == 1 and features == 4:
        y = y + X
    np.testing.assert_allclose(jax.jit(partial(module.apply, train=False))(variables, X), y, rtol=1e-4, atol=1e-5)


def test_fused_block_by_its_definition() -> None:
    module = build(FusedInvertedResidual, kernel=1)
    variables = init(module)
    y = np.clip(normalise(X @ variables["params"]["conv"]["kernel"][0, 0], variables, "norm"), 0, 6)
    y = normalise(y @ variables["params"]["project_conv"]["kernel"][0, 0], variables, "project_norm") + X
    np.testing.assert_allclose(jax.jit(partial(module.apply, train=False))(variables, X), y, rtol=1e-4, atol=1e-5)


def test_what_does_not_widen_is_left_out() -> None:
    def layers(block: Any) -> set[str]:
        return set(jax.eval_shape(partial(build(block, expanded=4).init, train=False), jax.random.key(0), X)["params"])

    assert layers(InvertedResidual) == {"depthwise_conv", "depthwise_norm", "project_conv", "project_norm"}
    assert layers(FusedInvertedResidual) == {"conv", "norm"}


def small_net(**fields: Any) -> InvertedResidualNet:
    stages = (Stage(3, 1, 1, 8, fused=True), Stage(3, 2, 2, 12, fused=True), Stage(5, 1, 2, 12))
    return InvertedResidualNet(3, stages, blocks=(2, 1, 1), stem=8, head=16, squeeze=True, act=nn.silu, **fields)


def test_drop_path_grows_linearly_and_squeezing_follows_the_block_input() -> None:
    rates, reduced = [], []

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, DropPath):
            rates.append(context.module.rate)
        if isinstance(context.module, SqueezeExcite) and context.method_name == "__call__":
            reduced.append(context.module.reduced)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(partial(small_net(drop_path=0.8).init, train=False), jax.random.key(0), np.zeros((1, 16, 16, 3)))
    assert rates == pytest.approx([0.0, 0.2, 0.6])  # the third block of four has no shortcut
    assert reduced == [3]


def test_every_parameter_of_squeezing_and_fused_blocks_gets_a_gradient() -> None:
    module = small_net(drop_path=0.1)
    x = RNG.normal(size=(4, 16, 12, 3)).astype(np.float32)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), x)

    def loss(params: Any) -> jax.Array:
        rngs = {"dropout": jax.random.key(1)}
        out, _ = module.apply({**variables, "params": params}, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(out[0], jnp.arange(4) % 3).mean()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    assert [jax.tree_util.keystr(path) for path, g in jax.tree.leaves_with_path(grads) if not np.abs(g).max() > 0] == []


@given(st.floats(1, 64))
@settings(max_examples=100, deadline=None)
def test_rounded_channels_are_close_multiples_of_8(channels: float) -> None:
    rounded = round_channels(channels)
    assert rounded % 8 == 0 and rounded >= 0.9 * channels and rounded - channels <= max(8 - channels, 7.2)


@pytest.mark.parametrize(
    ("variant", "epsilon", "momentum"),
    [
        (mobilenet_v2.mobilenet_v2, 1e-5, 0.9),
        (mobilenet_v3.mobilenet_v3_small, 1e-3, 0.99),
        (mnasnet.mnasnet_100, 1e-5, 0.9997),
        (efficientnet.efficientnet_b4, 1e-5, 0.9),
        (efficientnet.efficientnet_b5, 1e-3, 0.99),
        (efficientnet.efficientnet_lite4, 1e-3, 0.99),
        (efficientnet_v2.efficientnet_v2_l, 1e-3, 0.9),
    ],
)
def test_norm_is_that_of_the_published_weights(variant: Variant, epsilon: float, momentum: float) -> None:
    module: Any = variant()
    norm = module.norm()
    assert (norm.epsilon, norm.momentum) == (epsilon, momentum)
