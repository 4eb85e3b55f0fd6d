"""GoogLeNet: a module of branches in NumPy, the constant of its norms, the sizes that it reads, its images."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.googlenet import ONE, THREE, Branch, Mixed, googlenet
from cnn_jax.models.inception_v3 import inception_v3
from cnn_jax.models.layers import Conv
from cnn_jax.models.variant import IMAGENET_MEAN, IMAGENET_STD
from cnn_jax.ops.pooling import max_pool

X = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)


def convolve(x: np.ndarray, kernel: np.ndarray, strides: int = 1, padded: bool = True) -> np.ndarray:
    """relu of the norm of an untrained network, which divides by sqrt(1 + 1e-3), of the convolution."""
    height, width = kernel.shape[:2]
    if padded:
        x = np.pad(x, ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), (1, 2))[:, ::strides, ::strides]
    return np.maximum(np.einsum("byxchw,hwcd->byxd", windows, kernel), 0) / np.sqrt(1.001)


def run(branches: tuple[Branch, ...], pool: Any, projection: int | None) -> tuple[Any, dict[str, np.ndarray]]:
    conv = partial(Conv, use_bias=False)
    module = Mixed(branches, pool, projection, conv=conv, norm=googlenet().norm, act=nn.relu)
    y, variables = jax.jit(partial(module.init_with_output, train=False))(jax.random.key(0), X)
    return y, {name: np.asarray(layer["conv"]["kernel"]) for name, layer in variables["params"].items()}


def test_branches_are_chains_and_the_pooled_one_is_projected() -> None:
    sides = ((1, 3), (3, 1))
    around = partial(max_pool, window=3, strides=1, padding=1)
    y, kernels = run((((2, ONE),), ((4, ONE), (5, THREE)), ((3, ONE), (2, sides))), around, 6)
    once = convolve(X, kernels["branch3_1"])
    parts = [
        convolve(X, kernels["branch1_1"]),
        convolve(convolve(X, kernels["branch2_1"]), kernels["branch2_2"]),
        convolve(once, kernels["branch3_2a"]),
        convolve(once, kernels["branch3_2b"]),
        convolve(np.asarray(around(jnp.asarray(X))), kernels["branch4_1"]),
    ]
    assert kernels["branch3_2a"].shape[:2] == (1, 3)
    np.testing.assert_allclose(y, np.concatenate(parts, -1), rtol=1e-5, atol=1e-6)


def test_without_projection_the_last_layers_halve_the_size_unpadded() -> None:
    halve = partial(max_pool, window=3, strides=2)
    y, kernels = run((((2, THREE),), ((4, THREE), (5, THREE))), halve, None)
    inner = convolve(X, kernels["branch2_1"])
    parts = [
        convolve(X, kernels["branch1_1"], 2, padded=False),
        convolve(inner, kernels["branch2_2"], 2, padded=False),
        np.asarray(halve(jnp.asarray(X))),
    ]
    assert y.shape == (2, 3, 2, 10)
    np.testing.assert_allclose(y, np.concatenate(parts, -1), rtol=1e-5, atol=1e-6)


def test_smallest_size_leaves_one_position() -> None:
    x = jnp.zeros((1, 15, 40, 3))
    (_, features), _ = jax.eval_shape(lambda x: googlenet().init_with_output(jax.random.key(0), x, train=False), x)
    assert features["stage3"].shape[1] == 1
    with pytest.raises(ValueError, match=r"^GoogLeNet reads \[B, H, W, C\] of size 15 or more, not \(1, 14, 40, 3\)"):
        feature_info(googlenet(), (14, 40, 3))


@pytest.mark.parametrize("variant", [googlenet, inception_v3])
def test_images_are_normalised_as_torchvision_does_in_two_steps(variant):
    pixels, how = np.linspace(0, 1, 12).reshape(4, 3), variant.preprocessing
    usual = (pixels - IMAGENET_MEAN) / IMAGENET_STD
    inside = usual * np.divide(IMAGENET_STD, 0.5) + np.subtract(IMAGENET_MEAN, 0.5) / 0.5  # transform_input=True
    np.testing.assert_allclose((pixels - how.mean) / how.std, inside, rtol=1e-12, atol=1e-12)
