"""Attention for convolutional networks: small modules that weigh channels or positions by what the whole map holds.

Each takes a map [B, H, W, C] to a map of the same shape, so `attention=ECA` is the whole change to a ResNet.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.layers import Activation, Conv, Layer


class SqueezeExcite(nn.Module):
    """[B, H, W, C] -> the same, each channel scaled by gate(expand(act(reduce(mean over positions)))).

    Hu et al. 2018, arXiv:1709.01507, figure 2. `reduced` is the width of the bottleneck, by default the paper's
    C / 16; both layers are 1x1 convolutions with bias, which is how every published set of weights stores them or can
    be read.
    """

    reduced: int | None = None
    act: Activation = nn.relu
    gate: Callable[[jax.Array], jax.Array] = nn.sigmoid
    conv: Layer = Conv
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        reduced = max(channels // 16, 1) if self.reduced is None else self.reduced
        weights = x.mean((1, 2), keepdims=True)
        weights = self.act(self.conv(reduced, (1, 1), dtype=self.dtype, name="reduce")(weights))
        return x * self.gate(self.conv(channels, (1, 1), dtype=self.dtype, name="expand")(weights))


class ECA(nn.Module):
    """Efficient channel attention (Wang et al. 2020, arXiv:1910.03151, section 3.3): a convolution over the channels.

    [B, H, W, C] -> the same, each channel scaled by the sigmoid of a weighted sum of the means of k channels around
    it, zeros beyond the ends; k is t = floor((log2(C) + 1) / 2) or else t + 1, whichever is odd (equation 12), at
    least 3.
    """

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = max(int((math.log2(x.shape[-1]) + 1) / 2) // 2 * 2 + 1, 3)
        means = x.mean((1, 2))[..., None]
        weights = Conv(1, (kernel,), use_bias=False, dtype=self.dtype, name="conv")(means)
        return x * nn.sigmoid(weights).reshape(-1, 1, 1, x.shape[-1])


class CBAM(nn.Module):
    """Convolutional block attention (Woo et al. 2018, arXiv:1807.06521, equations 1 to 3): channels, then positions.

    Channels: sigmoid of a shared bottleneck of width `reduced` (by default C / 16), without bias, of the means plus
    that of the maxima over the positions. Positions: sigmoid of a 7x7 convolution of the mean and the maximum over
    the channels.
    """

    reduced: int | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        reduced = max(channels // 16, 1) if self.reduced is None else self.reduced
        reduce = Conv(reduced, (1, 1), use_bias=False, dtype=self.dtype, name="reduce")
        expand = Conv(channels, (1, 1), use_bias=False, dtype=self.dtype, name="expand")
        pooled = x.mean((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
        x = x * nn.sigmoid(sum(expand(nn.relu(reduce(p))) for p in pooled))
        maps = jnp.concatenate([x.mean(-1, keepdims=True), x.max(-1, keepdims=True)], -1)
        return x * nn.sigmoid(Conv(1, (7, 7), use_bias=False, dtype=self.dtype, name="spatial")(maps))
