"""Receptive fields: published numbers, and what a change of the input reaches."""

import math
from fractions import Fraction
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.inspect.receptive_field import Field, receptive_fields
from cnn_jax.models.alexnet import alexnet
from cnn_jax.models.attention import SqueezeExcite
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.models.densenet import densenet_bc_100_12
from cnn_jax.models.inception_v3 import inception_v3
from cnn_jax.models.layers import Conv
from cnn_jax.models.lenet import lenet5, lenet5_28
from cnn_jax.models.mobilenet_v1 import mobilenet_v1_025
from cnn_jax.models.resnet import Bottleneck, resnet18, resnet50
from cnn_jax.models.shufflenet_v2 import shufflenet_v2_x0_5
from cnn_jax.models.unet import unet_small
from cnn_jax.models.vgg import vgg16
from cnn_jax.ops import convolution


def test_lenet_by_hand() -> None:
    """5x5, 2x2 by 2, 5x5, 2x2 by 2: 1 + 4 + 1 = 6, then 6 + 2 (4 + 1) = 16; padding by 2 only moves the start."""
    for variant, start in ((lenet5, 0), (lenet5_28, -2)):
        fields = receptive_fields(variant(), variant.input_shape)
        assert list(fields) == ["stage1", "stage2", "pooled"]
        assert fields["stage1"] == (Field(6, Fraction(2), start, False),) * 2
        assert fields["stage2"] == (Field(16, Fraction(4), start, False),) * 2
        assert fields["pooled"] == (Field(0, Fraction(0), 0, True),) * 2
    assert fields["stage2"][0].centre == -2 + 7.5


def size(module: nn.Module, name: str) -> tuple[int, int]:
    """Size and stride of a field, on an input that is large enough for every network."""
    height, width = receptive_fields(module, (96, 96, 3))[name]
    assert height == width
    return height.size, int(height.stride)


def test_published_numbers() -> None:
    """Araujo, Norris & Sim 2019, table 1. They count the last pooling of AlexNet (3x3) and of VGG-16 (2x2), which here
    belongs to the classifier."""
    assert size(alexnet(), "stage3") == (195 - 2 * 16, 16)
    assert size(vgg16(), "stage5") == (212 - 16, 16)
    assert size(mobilenet_v1_025(), "stage5") == (315, 32)
    assert size(inception_v3(), "stage3") == (1311, 32)


class EarlyStride(nn.Module):
    """A block whose first convolution has the stride, as in 2015."""

    strides: int
    block: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.block(x[:, :: self.strides, :: self.strides], train=train)


def early_stride(*, strides: int, name: str, **fields: Any) -> nn.Module:
    return EarlyStride(strides, Bottleneck(strides=1, parent=None, **fields), name=name)


def test_residual_networks() -> None:
    """483 of the same table is ResNet-50 as of 2015. With the stride on the 3x3 convolution (V1.5) three of those see
    half as far: 2 (4 + 8 + 16) = 56 less."""
    assert size(resnet50(), "stage4") == (483 - 56, 32)
    assert size(resnet50(block=early_stride), "stage4") == (483, 32)


def test_the_size_of_the_input_does_not_matter() -> None:
    small, large = (receptive_fields(resnet18(), shape) for shape in ((32, 32, 3), (256, 256, 1)))
    assert small == large


def check(module: nn.Module, shape: tuple[int, ...], jit: Any, period: int = 1) -> int:
    """Checks the fields along the first axis against what changes when the input does; shape: of one example.

    period: by how much the module upsamples.

    In a network of positive numbers nothing cancels, no activation is off, and an immense number always shows: at the
    ends of a field it must, outside it must not. Returns how many maps have a position that sees no border.
    """
    shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), jnp.zeros((1, *shape)))

    def positive(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = math.prod(leaf.shape[:-1])
        return np.full(leaf.shape, 0.0 if path[-1].key == "mean" else 2 / fan_in if fan_in > 1 else 1.0, np.float32)

    variables = jax.tree_util.tree_map_with_path(positive, shapes)
    with convolution.lowering("native"):
        run = jit(lambda x: module.apply(variables, x, train=False)[1]).lower(jnp.zeros((1, *shape))).compile()
    x = np.random.default_rng(0).uniform(1.0, 2.0, size=(1, *shape)).astype(np.float32)
    before, checked = run(x), 0
    for name, (field, *_) in receptive_fields(module, shape).items():
        if not field.size:
            continue
        position = period * math.ceil(max(1 - field.start, 0) / field.stride / period)
        low = int(field.start + position * field.stride)
        high = low + field.size - 1
        if high >= shape[0] - 1:
            continue
        outside, first, last = (np.zeros(shape[0], bool) for _ in range(3))
        outside[:low] = outside[high + 1 :] = first[low] = last[high] = True
        for where, seen in ((outside, field.everything), (first, True), (last, True)):
            y = np.array(x)
            y[:, where] = 1e20
            same = np.isclose(run(y)[name][0, position], before[name][0, position], rtol=1e-4)
            assert same.all() != seen, f"{name} at {position}: {field} is wrong"
        checked += 1
    return checked


@pytest.mark.parametrize(
    ("variant", "less", "shape", "period"),
    [
        (resnet20, {"blocks": (1, 1, 1)}, (96, 16), 1),
        (densenet_bc_100_12, {"blocks": (2, 2, 2)}, (128, 16), 1),
        (shufflenet_v2_x0_5, {"blocks": (2, 2, 2)}, (512, 32), 1),
        (unet_small, {}, (512, 16), 16),
    ],
)
def test_what_models_really_see(
    variant: Any, less: dict[str, Any], shape: tuple[int, int], period: int, jit: Any
) -> None:
    module = variant().clone(**less)
    shape = (*shape, variant.input_shape[-1])
    maps = sum(axes[0].size > 0 for axes in receptive_fields(module, shape).values())
    assert check(module, shape, jit, period) == maps


ONE_TO_FOUR, ONE_TO_THREE = st.integers(1, 4), st.integers(1, 3)
OPERATIONS = st.one_of(
    st.tuples(st.just("conv"), ONE_TO_FOUR, ONE_TO_THREE, ONE_TO_THREE, st.integers(0, 2)),
    st.tuples(st.just("transposed"), st.integers(3, 5), ONE_TO_THREE),
    st.tuples(st.sampled_from(["max", "mean", "window"]), ONE_TO_FOUR, ONE_TO_THREE),
    st.tuples(st.sampled_from(["repeat", "fold"]), ONE_TO_THREE),
    st.tuples(st.sampled_from(["branches", "residual"]), st.sampled_from([1, 3, 5])),
)


@given(st.lists(OPERATIONS, min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_what_any_chain_of_operations_sees(chain: Any, jit: Any, steps: list[tuple[Any, ...]]) -> None:
    upsampling = [step[-1] for step in steps if step[0] in ("repeat", "transposed")]
    assert check(chain(steps=tuple(steps)), (2000, 4), jit, math.prod(upsampling)) >= 1


class Odd(nn.Module):
    """[B, H, W, C]: features that see one axis, or the other, wholly or otherwise."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        flat = Conv(2, (1, 7), (1, 2))(x)
        features = {
            "flat": flat,
            "excited": SqueezeExcite(2)(flat),
            "rows": flat.mean(2),
            "row_weights": flat * nn.sigmoid(flat.mean(2, keepdims=True)),
            "sums": jnp.cumsum(flat, axis=1),
            "flattened": flat.reshape(1, -1),
            "constant": jnp.ones((1, 4, 4, 1)),
        }
        return flat.mean((1, 2)), features


def test_each_axis_has_its_own_field() -> None:
    narrow, wide = Field(1, Fraction(1), 0, False), Field(7, Fraction(2), -3, False)
    nothing = Field(0, Fraction(0), 0, False)
    everything = nothing._replace(everything=True)
    assert receptive_fields(Odd(), (16, 16, 3)) == {
        "flat": (narrow, wide),
        "excited": (narrow._replace(everything=True), wide._replace(everything=True)),
        "rows": (narrow, everything),
        "row_weights": (narrow, wide._replace(everything=True)),
        "sums": (everything, everything),  # an operation without a rule: too much rather than too little
        "flattened": (everything, everything),
        "constant": (nothing, nothing),
    }
