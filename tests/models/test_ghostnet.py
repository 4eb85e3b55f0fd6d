"""Ghost modules against their definition, the block's shortcut, and the rounding of widths."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.ghostnet import GhostBlock, GhostModule, ghostnet_050, ghostnet_100, multiple_of_4
from cnn_jax.models.layers import BatchNorm, Conv

X = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype(np.float32)
conv = partial(Conv, use_bias=False)


@pytest.mark.parametrize("features", [6, 5])
def test_second_half_comes_from_the_first_channel_by_channel(features: int) -> None:
    module = GhostModule(features, conv=conv, norm=BatchNorm, act=nn.relu)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), X)
    y = np.asarray(jax.jit(partial(module.apply, train=False))(variables, X))
    assert y.shape == (2, 5, 6, features)

    first, norm = y[..., :3], np.sqrt(1 + 1e-5)
    primary = X @ np.asarray(variables["params"]["primary"]["kernel"][0, 0]) / norm
    np.testing.assert_allclose(first, np.maximum(primary, 0), atol=1e-6)
    padded = np.pad(first, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    cheap = np.einsum("bijchw,hwc->bijc", windows, variables["params"]["cheap"]["kernel"][:, :, 0]) / norm
    np.testing.assert_allclose(y[..., 3:], np.maximum(cheap, 0)[..., : features - 3], atol=1e-6)


@pytest.mark.parametrize(("features", "strides"), [(4, 1), (8, 1), (4, 2)])
def test_shortcut_has_layers_only_where_the_shape_changes(features: int, strides: int) -> None:
    block = GhostBlock(
        12, features, 5, strides, squeeze=True, conv=conv, norm=BatchNorm, act=nn.relu, dtype=jnp.float32
    )
    y, variables = jax.eval_shape(
        partial(block.init_with_output, train=False), jax.random.key(0), jax.ShapeDtypeStruct(X.shape, "float32")
    )
    params = variables["params"]
    assert y.shape == (2, -(-5 // strides), 6 // strides, features)
    assert ("shortcut_pointwise" in params) == (y.shape != X.shape)
    assert ("depthwise" in params) == (strides == 2)
    # a quarter of the expanded width, 3, as a multiple of 4
    assert params["squeeze"]["reduce"]["kernel"].shape == (1, 1, 12, 4)


def test_multiples_of_4_lose_at_most_a_tenth() -> None:
    given = [1, 4, 5.9, 6, 18, 20.8, 31.2, 40 * 1.3, 4.5]
    assert [multiple_of_4(channels) for channels in given] == [4, 4, 8, 8, 20, 20, 32, 52, 8]
    for channels in np.linspace(4, 300, 500):
        rounded = multiple_of_4(channels)
        assert rounded % 4 == 0 and 0.9 * channels <= rounded <= channels + 4


def test_channels_and_strides() -> None:
    full = feature_info(ghostnet_100(), (64, 64, 3))
    assert full == {
        "stem": (16, 2),
        "stage1": (16, 2),
        "stage2": (24, 4),
        "stage3": (40, 8),
        "stage4": (112, 16),
        "stage5": (160, 32),
        "stage6": (960, 32),
    }
    half = feature_info(ghostnet_050(), (64, 64, 3))
    assert half == {name: (channels // 2, stride) for name, (channels, stride) in full.items()}
