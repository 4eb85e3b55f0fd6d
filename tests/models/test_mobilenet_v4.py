"""The universal inverted bottleneck: which convolution has the stride, and what is added to what."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.layers import Conv
from cnn_jax.models.mobilenet_v4 import UniversalBlock, mobilenet_v4_conv_small

X = np.random.default_rng(0).normal(size=(2, 6, 10, 8)).astype(np.float32)
conv = partial(Conv, use_bias=False)


@pytest.mark.parametrize(
    ("start", "middle", "halved"), [(3, 5, "middle_conv"), (0, 3, "middle_conv"), (5, 0, "start_conv")]
)
def test_the_last_depthwise_convolution_has_the_stride(start: int, middle: int, halved: str) -> None:
    block = UniversalBlock(12, 3, start=start, middle=middle, strides=2, conv=conv)

    def run(key: jax.Array, x: jax.Array) -> Any:
        return block.init_with_output(key, x, train=False, capture_intermediates=True)

    y, variables = jax.eval_shape(run, jax.random.key(0), X)
    assert y.shape == (2, 3, 5, 12)
    inside = {name: value["__call__"][0].shape for name, value in variables["intermediates"].items() if "conv" in name}
    order = [name for name in ("start_conv", "expand_conv", "middle_conv", "project_conv") if name in inside]
    assert [inside[name][1:3] == (3, 5) for name in order] == [i >= order.index(halved) for i in range(len(order))]
    assert inside["expand_conv"][-1] == 24
    kernels = {name: value["kernel"].shape for name, value in variables["params"].items() if "conv" in name}
    assert kernels.get("start_conv", (0,))[0] == start and kernels.get("middle_conv", (0,))[0] == middle


@pytest.mark.parametrize(("features", "strides"), [(8, 1), (12, 1), (8, 2)])
def test_the_shortcut_is_the_plain_identity_where_the_shape_stays(features: int, strides: int) -> None:
    block = UniversalBlock(features, 2, start=3, middle=3, strides=strides, conv=conv)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), X)
    variables["params"]["project_norm"]["scale"] = jnp.zeros(features)
    y = jax.jit(partial(block.apply, train=False))(variables, X)
    np.testing.assert_array_equal(y, X if y.shape == X.shape else np.zeros(y.shape))
    assert (y.shape == X.shape) == (features == 8 and strides == 1)


def test_channels_and_strides() -> None:
    assert feature_info(mobilenet_v4_conv_small(), (64, 64, 3)) == {
        "stem": (32, 2),
        "stage1": (32, 4),
        "stage2": (64, 8),
        "stage3": (96, 16),
        "stage4": (128, 32),
        "stage5": (960, 32),
    }
