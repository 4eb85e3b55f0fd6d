"""Pre-activation networks against the paper's layer table in closed form, and what each path of a block reads."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.preact_resnet import (
    PreActBasic,
    PreActBottleneck,
    bare_projection,
    preact_resnet18,
    preact_resnet110,
    preact_resnet164,
)
from cnn_jax.models.variant import Variant

X = np.random.default_rng(0).normal(size=(2, 6, 6, 8)).astype(np.float32)


def basic(stem: int, blocks: int, stages: int, projects: bool) -> tuple[int, int]:
    """(params, MACs) on 32x32x3 with 10 classes: each 3x3 convolution has a norm before it, the last map has one."""
    params, macs, before = 27 * stem, 32**2 * 27 * stem, stem
    for stage in range(stages):
        width = stem * 2**stage
        kernels = 9 * before * width + (2 * blocks - 1) * 9 * width * width
        kernels += before * width if projects and before != width else 0
        params += kernels + 2 * before + (2 * blocks - 1) * 2 * width
        macs += (32 // 2**stage) ** 2 * kernels
        before = width
    return params + 2 * before + 10 * before + 10, macs + 10 * before


def bottleneck(blocks: int) -> tuple[int, int]:
    """The same with 1x1, 3x3, 1x1 of width 16, 32, 64; the stride and the shortcut are on 1x1 convolutions."""
    params, macs, before = 27 * 16, 32**2 * 27 * 16, 16
    for stage in range(3):
        width, out = 16 * 2**stage, 64 * 2**stage
        inner = 9 * width * width + width * out
        kernels = before * width + inner + before * out + (blocks - 1) * (out * width + inner)
        params += kernels + 2 * (before + 2 * width) + (blocks - 1) * 2 * (out + 2 * width)
        macs += (32 // 2**stage) ** 2 * kernels
        before = out
    return params + 2 * before + 10 * before + 10, macs + 10 * before


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (preact_resnet18, basic(64, 2, 4, projects=True)),
        (preact_resnet110, basic(16, 18, 3, projects=False)),
        (preact_resnet164, bottleneck(18)),
    ],
)
def test_counts_in_closed_form(variant: Variant, expected: tuple[int, int]) -> None:
    assert (variant.params, variant.macs) == expected


def build(block: Any, features: int, strides: int, shared: bool, **fields: Any) -> nn.Module:
    conv = partial(Conv, use_bias=False)
    layers: Any = dict(shortcut=bare_projection, conv=conv, norm=BatchNorm, act=nn.relu)
    return block(features, strides, shared, **layers, **fields)


@pytest.mark.parametrize(("block", "features", "last"), [(PreActBasic, 8, "conv2"), (PreActBottleneck, 2, "conv3")])
@pytest.mark.parametrize("shared", [True, False])
def test_shortcut_carries_the_input_or_in_first_blocks_its_activation(
    block: Any, features: int, last: str, shared: bool
) -> None:
    module = build(block, features, 1, shared)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), X)
    variables["params"][last]["kernel"] *= 0
    expected = np.maximum(X, 0) if shared else X
    np.testing.assert_allclose(jax.jit(partial(module.apply, train=False))(variables, X), expected, atol=1e-4)


@pytest.mark.parametrize(("strides_first", "strided"), [(True, "conv1"), (False, "conv2")])
def test_bottleneck_strides_where_it_is_told(strides_first: bool, strided: str) -> None:
    module = build(PreActBottleneck, 4, 2, True, strides_first=strides_first)
    variables = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), X)
    assert variables["params"]["shortcut_conv"]["kernel"].shape == (1, 1, 8, 16)
    y, outputs = jax.eval_shape(
        partial(module.apply, train=False, capture_intermediates=True), variables, jnp.asarray(X)
    )
    assert y.shape == (2, 3, 3, 16)
    sizes = {name: outputs["intermediates"][name]["__call__"][0].shape[1] for name in ("conv1", "conv2", "conv3")}
    assert min(name for name, size in sizes.items() if size == 3) == strided


def test_last_map_is_activated() -> None:
    module = preact_resnet18().clone(blocks=(1, 1), features=4)
    (_, maps), _ = jax.jit(partial(module.init_with_output, train=False))(jax.random.key(0), X)
    assert (maps["stage1"] < 0).any() and (maps["stage2"] >= 0).all()
    np.testing.assert_allclose(maps["pooled"], maps["stage2"].mean((1, 2)), atol=1e-5)
