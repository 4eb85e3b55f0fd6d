"""ConvMixer's patches and block against their definitions."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.convmixer import ConvMixer, MixerBlock, convmixer_768_32
from cnn_jax.models.layers import BatchNorm, Conv

NORM = np.sqrt(1 + 1e-5)


def test_stem_reads_patches_side_by_side_and_activates_before_the_norm() -> None:
    x = np.random.default_rng(0).normal(size=(2, 11, 8, 3)).astype(np.float32)
    module = ConvMixer(classes=2, width=6, depth=1, kernel=3, patch=4, act=nn.relu)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), x)
    variables["params"]["stem_norm"]["bias"] = jnp.full(6, -0.5)
    _, maps = jax.jit(partial(module.apply, train=False))(variables, x)
    patches = x[:, :8].reshape(2, 2, 4, 2, 4, 3)  # the last three rows make no whole patch
    y = np.einsum("bihjwc,hwcd->bijd", patches, variables["params"]["stem_conv"]["kernel"])
    np.testing.assert_allclose(maps["stem"], np.maximum(y, 0) / NORM - 0.5, atol=1e-5)


def test_block_adds_the_input_to_the_depthwise_branch_only() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    block = MixerBlock(5, conv=Conv, norm=BatchNorm, act=nn.relu)
    variables = jax.jit(partial(block.init, train=False))(jax.random.key(0), x)
    params = variables["params"]
    params["depthwise"]["kernel"] = jnp.zeros((5, 5, 1, 6)).at[2, 2].set(-1.0)  # the middle tap
    params["norm1"]["bias"] = jnp.full(6, -0.5)
    params["pointwise"]["bias"] = jnp.full(6, 0.1)
    y = x + np.maximum(-x, 0) / NORM - 0.5
    expected = np.maximum(y @ np.asarray(params["pointwise"]["kernel"][0, 0]) + 0.1, 0) / NORM
    np.testing.assert_allclose(jax.jit(partial(block.apply, train=False))(variables, x), expected, atol=1e-5)


def test_activation_is_the_exact_gelu() -> None:
    x = jnp.linspace(-4, 4, 9)
    exact = x * jax.scipy.stats.norm.cdf(x)
    np.testing.assert_allclose(ConvMixer(classes=2, width=6, depth=1, kernel=3).act(x), exact, atol=1e-6)


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="size 7 or more"):
        jax.eval_shape(partial(convmixer_768_32().init, train=False), jax.random.key(0), jnp.ones((1, 6, 9, 3)))
