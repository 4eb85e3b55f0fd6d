"""A network behind a front end: its own variables, masks that stay within the sound, and BC-ResNet's norm."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import feature_info
from cnn_jax.lookup import describe, lookup
from cnn_jax.models.bc_resnet import BANDS, SubSpectralNorm, bc_resnet_0625
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.mnist1d_cnn import DeepConv
from cnn_jax.models.spectrogram_net import SpecAugment, SpectrogramNet
from cnn_jax.models.tc_resnet import tc_resnet8
from cnn_jax.ops.spectrogram import log_mel, sounding

FRONT = partial(log_mel, rate=8000, convention="torchaudio", window=256, hop=64, mels=40)


def test_the_variables_are_those_of_the_network() -> None:
    whole = SpectrogramNet(classes=5, net=bc_resnet_0625, front=FRONT, masks=SpecAugment)
    own = variable_shapes(bc_resnet_0625(classes=5), (26, 40, 1))
    shapes = variable_shapes(whole, (1600, 1))
    assert {path: shape for path, shape in shapes.items() if "bin_norm" not in path} == own
    assert shapes["params/bin_norm/scale"] == (40,)
    assert feature_info(whole, (1600, 1))["stage4"] == (12, 64)  # a hop
    build = partial(SpectrogramNet, net=tc_resnet8, front=FRONT, masks=partial(SpecAugment, bins=1))
    assert describe(lookup(describe(build))) == describe(build)  # what a run folder says of it


def test_a_network_over_time_reads_bins_as_channels(drawn: Any) -> None:
    net = partial(DeepConv, features=(4,))
    whole = SpectrogramNet(classes=2, net=net, front=lambda x: FRONT(x)[..., 0], norm=None)
    x = np.random.default_rng(0).normal(size=(2, 800, 1)).astype(np.float32)
    variables = drawn(whole, x)
    assert variables["params"]["stage1_conv1"]["kernel"].shape == (5, 40, 4)
    logits, _ = jax.jit(partial(whole.apply, train=False))(variables, x)
    alone, _ = jax.jit(lambda x: net(classes=2).apply(variables, FRONT(x)[..., 0], train=False))(x)
    np.testing.assert_allclose(logits, alone, rtol=1e-5, atol=1e-5)


def test_masks_are_of_each_example_filled_with_its_mean_and_within_the_sound() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(3, 1, size=(64, 30, 12, 1)).astype(np.float32)
    known = np.where(np.arange(64) % 2, 30, 10).astype(np.int32)
    module = SpecAugment(bins=1, width=4, frames=2, length=6)
    apply = jax.jit(lambda x, key: module.apply({}, x, known, train=True, rngs={"dropout": key}))
    y = np.asarray(apply(x, jax.random.key(0)))[..., 0]
    means = np.array([one[:count].mean() for one, count in zip(x, known, strict=True)])
    hidden = y != x[..., 0]
    np.testing.assert_allclose(y[hidden], np.broadcast_to(means[:, None, None], y.shape)[hidden], rtol=1e-5)
    in_time, in_pitch = hidden.all(2), hidden.all(1)
    assert not in_time[::2, 10:].any() and in_time[1::2, 10:].any()  # never in the padding
    # Of 10 frames no two masks hide more than half, of 30 none is longer than 6.
    assert in_time[::2].sum(1).max() <= 4 and 6 < in_time[1::2].sum(1).max() <= 12 and in_pitch.sum(1).max() == 4
    assert len(np.unique(in_time, axis=0)) > 20  # each example has its own
    np.testing.assert_array_equal(apply(x[::-1].copy(), jax.random.key(0))[..., 0] != x[::-1, ..., 0], hidden[:])


def test_length_of_a_padded_sound() -> None:
    x = jnp.zeros((3, 6, 2)).at[0, 3, 1].set(1).at[1].set(2)
    assert sounding(x).tolist() == [4, 6, 0]


def test_sub_spectral_norm_is_a_norm_of_each_band_and_channel() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 2 * BANDS, 3)).astype(np.float32)
    module: nn.Module = SubSpectralNorm(BatchNorm)
    y, new = jax.jit(lambda x: module.init_with_output(jax.random.key(0), x, train=True))(x)
    parts = x.reshape(3, 4, BANDS, 2, 3)
    mean, std = parts.mean((0, 1, 3), keepdims=True), parts.std((0, 1, 3), keepdims=True)
    np.testing.assert_allclose(y, ((parts - mean) / np.sqrt(std**2 + 1e-5)).reshape(x.shape), atol=1e-5)
    assert {array.shape for array in flatten_dict(new).values()} == {(3 * BANDS,)}
    # Band g of channel c is number BANDS c + g, where published weights have it.
    scale = np.arange(15, dtype=np.float32)
    scaled = {**new, "params": {"norm": {**new["params"]["norm"], "scale": scale}}}
    z = jax.jit(lambda x: module.apply(scaled, x, train=True, mutable=["batch_stats"])[0])(x)
    np.testing.assert_allclose(z[0, 0, 2, 1], y[0, 0, 2, 1] * (BANDS * 1 + 1), rtol=1e-4)


def test_bins_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a multiple of 40 bins, not 64"):
        variable_shapes(bc_resnet_0625(), (26, 64, 1))
