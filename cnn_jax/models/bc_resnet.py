"""BC-ResNet for keyword spotting (Kim, Chang, Lee & Sung 2021, arXiv:2106.04140): broadcast residuals over frequency.

They read 101 frames of 40 mel bands, ln(mel + 1e-6) as torchaudio makes them (windows of 480 samples at 16 kHz every
160, transforms of 512): `SpectrogramNet(net=bc_resnet_1, front=log_mel(...))`.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import (
    Activation,
    BatchNorm,
    Conv,
    Dropout,
    Layer,
    global_average_pool,
    he_depthwise,
    require_size,
)
from cnn_jax.models.variant import Variant

BANDS = 5  # of sub-spectral norms


class SubSpectralNorm(nn.Module):
    """`norm` of maps [B, T, F, C] in BANDS bands of F by themselves, each with scale and bias (Chang et al. 2021).

    Channel c of band g is number BANDS c + g of the norm, as in the authors' code.
    """

    norm: Layer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        batch, frames, bins, channels = x.shape
        parts = x.reshape(batch, frames, BANDS, bins // BANDS, channels)
        parts = jnp.moveaxis(parts, 2, -1).reshape(batch, frames, bins // BANDS, channels * BANDS)
        parts = self.norm(name="norm")(parts, train=train).reshape(batch, frames, bins // BANDS, channels, BANDS)
        return jnp.moveaxis(parts, -1, 2).reshape(x.shape)


class BroadcastBlock(nn.Module):
    """A convolution over frequency, and of its mean over frequency one over time, added to all bins (figure 2).

    Where the width changes a projection comes first, and there is no shortcut. dilation: of the convolution over time.
    """

    features: int
    strides: int
    dilation: int
    conv: Layer
    norm: Layer
    act: Activation
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = x
        depthwise = partial(self.conv, self.features, groups=self.features, kernel_init=he_depthwise)
        if x.shape[-1] != self.features:
            y = self.act(self.norm(name="norm1")(self.conv(self.features, (1, 1), name="conv1")(x), train=train))
        y = depthwise((1, 3), (1, self.strides), name="frequency")(y)
        y = SubSpectralNorm(self.norm, name="bands")(y, train=train)
        z = depthwise((3, 1), dilation=self.dilation, name="time")(y.mean(2, keepdims=True))
        z = nn.silu(self.norm(name="norm2")(z, train=train))
        z = self.conv(self.features, (1, 1), name="conv2")(z)
        # whole channels: the mask of one frame is that of all
        mask = Dropout(self.dropout, name="dropout")(jnp.ones_like(z[:, :1]), train=train)
        y = y + z * mask
        return self.act(y + x if x.shape[-1] == self.features else y)


class BCResNet(nn.Module):
    """[B, T, F, C] with F a multiple of 40 -> logits; stage i has `blocks[i]` blocks.

    features: of the smallest stage, the paper's 8 tau. The convolution over time of stage i is dilated by 2^(i - 1);
    the stem and the stages 2 and 3 halve the frequencies, nothing the time.
    """

    classes: int | None
    features: int
    blocks: tuple[int, ...] = (2, 2, 4, 4)
    dropout: float = 0.1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="BCResNet")
        if x.shape[2] % (8 * BANDS):
            raise ValueError(f"BCResNet reads frames of a multiple of {8 * BANDS} bins, not {x.shape[2]}")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = conv(2 * self.features, (5, 5), (1, 2), name="stem_conv")(x)
        features = {"stem": (x := self.act(norm(name="stem_norm")(x, train=train)))}
        widths = [int(self.features * times) for times in (1, 1.5, 2, 2.5, 4)]
        for stage, count in enumerate(self.blocks, 1):
            for i in range(1, count + 1):
                x = BroadcastBlock(
                    features=widths[stage - 1],
                    strides=2 if stage in (2, 3) and i == 1 else 1,
                    dilation=2 ** (stage - 1),
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    dropout=self.dropout,
                    name=f"stage{stage}_block{i}",
                )(x, train=train)
            features[f"stage{stage}"] = x
        depthwise = partial(conv, groups=x.shape[-1], kernel_init=he_depthwise, padding=[(2, 2), (0, 0)])
        x = conv(widths[-1], (1, 1), name="top_conv2")(depthwise(x.shape[-1], (5, 5), name="top_conv1")(x))
        features["top"] = x = self.act(norm(name="top_norm")(x, train=train))
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_speech = partial(
    Variant,
    input_shape=(101, 40, 1),
    classes=12,
    source="Kim et al. 2021, arXiv:2106.04140, tables 1 and 2; Qualcomm-AI-research/bcresnet",
)

bc_resnet_0625 = _speech(build=partial(BCResNet, features=5), params=4_585, macs=1_246_580)
bc_resnet_1 = _speech(build=partial(BCResNet, features=8), params=9_232, macs=2_482_156)
bc_resnet_15 = _speech(build=partial(BCResNet, features=12), params=17_154, macs=4_607_994)
bc_resnet_2 = _speech(build=partial(BCResNet, features=16), params=27_284, macs=7_323_672)
bc_resnet_3 = _speech(build=partial(BCResNet, features=24), params=54_168, macs=14_524_548)
bc_resnet_6 = _speech(build=partial(BCResNet, features=48), params=187_812, macs=50_283_336)
bc_resnet_8 = _speech(build=partial(BCResNet, features=64), params=321_068, macs=85_919_328)
