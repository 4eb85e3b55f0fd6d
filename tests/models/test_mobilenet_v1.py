"""MobileNetV1's block against its definition, and the widths of the thinner networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.layers import BatchNorm, Conv, he_depthwise
from cnn_jax.models.mobilenet_v1 import SeparableBlock, mobilenet_v1_025, mobilenet_v1_100


def test_block_is_depthwise_then_pointwise_without_a_shortcut() -> None:
    """Stride 2, each channel by its own window padded by one on both sides; then a matrix product over channels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    block = SeparableBlock(4, 2, conv=partial(Conv, use_bias=False), norm=BatchNorm, act=mobilenet_v1_100().act)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), x)
    params = variables["params"]
    params["depthwise"]["kernel"] *= 4  # some values above 6

    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 3, 3, 3))
    for i in range(3):
        for j in range(3):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, i, j] = np.einsum("bhwc,hwc->bc", window, params["depthwise"]["kernel"][:, :, 0])
    norm = np.sqrt(1 + 1e-5)
    expected = np.clip(expected / norm, 0, 6)
    assert (expected == 6).any()
    expected = np.clip(expected @ np.asarray(params["pointwise"]["kernel"][0, 0]) / norm, 0, 6)
    np.testing.assert_allclose(jax.jit(partial(block.apply, train=False))(variables, x), expected, atol=1e-5)


def test_depthwise_kernels_begin_with_the_variance_of_their_own_window() -> None:
    kernel = he_depthwise(jax.random.key(0), (3, 3, 1, 2048), jnp.float32)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 9), rtol=0.03)


def test_width_scales_every_layer() -> None:
    thin, full = (feature_info(variant(), (64, 64, 3)) for variant in (mobilenet_v1_025, mobilenet_v1_100))
    assert full == {
        "stem": (32, 2),
        "stage1": (64, 2),
        "stage2": (128, 4),
        "stage3": (256, 8),
        "stage4": (512, 16),
        "stage5": (1024, 32),
    }
    assert thin == {name: (channels // 4, stride) for name, (channels, stride) in full.items()}
