"""Channel shuffle and what a block of ShuffleNetV2 leaves untouched."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.shufflenet_v2 import ShuffleBlock, channel_shuffle, shufflenet_v2_x1_0, shufflenet_v2_x2_0

conv = partial(Conv, use_bias=False)


def test_channel_shuffle_interleaves_the_groups() -> None:
    x = jnp.broadcast_to(jnp.arange(6), (2, 3, 1, 6))
    np.testing.assert_array_equal(channel_shuffle(x, 2)[1, 2, 0], [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(channel_shuffle(x, 3)[1, 2, 0], [0, 2, 4, 1, 3, 5])
    np.testing.assert_array_equal(channel_shuffle(channel_shuffle(x, 2), 3), x)


def test_half_the_channels_pass_a_block_untouched() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 8)).astype(np.float32)
    block = ShuffleBlock(8, 1, conv=conv, norm=BatchNorm, act=nn.relu)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), x)
    run = jax.jit(partial(block.apply, train=False))
    y = run(variables, x)
    np.testing.assert_array_equal(y[..., ::2], x[..., :4])
    # and the other half is computed from the other half only
    np.testing.assert_array_equal(run(variables, x * np.repeat([0, 1], 4))[..., 1::2], y[..., 1::2])
    assert np.abs(run(variables, x * np.repeat([1, 0], 4))[..., 1::2] - y[..., 1::2]).max() > 0.1


def test_a_strided_block_reads_all_channels_twice() -> None:
    x = jax.ShapeDtypeStruct((2, 5, 8, 6), "float32")
    block = ShuffleBlock(10, 2, conv=conv, norm=BatchNorm, act=nn.relu)
    y, variables = jax.eval_shape(partial(block.init_with_output, train=False), jax.random.key(0), x)
    assert y.shape == (2, 3, 4, 10)
    kernels = {name: value["kernel"].shape for name, value in variables["params"].items() if "kernel" in value}
    assert kernels == {
        "left_depthwise": (3, 3, 1, 6),
        "left_pointwise": (1, 1, 6, 5),
        "conv1": (1, 1, 6, 5),
        "depthwise": (3, 3, 1, 5),
        "conv2": (1, 1, 5, 5),
    }


def test_channels_and_strides() -> None:
    assert feature_info(shufflenet_v2_x1_0(), (64, 64, 3)) == {
        "stem": (24, 4),
        "stage1": (116, 8),
        "stage2": (232, 16),
        "stage3": (464, 32),
        "stage4": (1024, 32),
    }
    assert feature_info(shufflenet_v2_x2_0(), (64, 64, 3))["stage4"] == (2048, 32)
