"""MatchboxNet for keyword spotting (Majumdar & Ginsburg 2020, arXiv:2004.08531): separable convolutions over time.

They read 128 frames of 64 MFCC: `SpectrogramNet(net=matchboxnet_3x1x64, front=mfcc(...))`. All clips have one length,
so the masks by which NeMo keeps padding out of its convolutions are not needed.
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
from cnn_jax.models.tc_resnet import coefficients_as_channels
from cnn_jax.models.variant import Variant


class TimeBlock(nn.Module):
    """`repeats` times a depthwise convolution over time, a pointwise one and the norm (figure 1).

    separable: False for a plain convolution in their place. residual: a projection is added before the last activation.
    """

    features: int
    kernel: int
    repeats: int
    conv: Layer
    norm: Layer
    act: Activation
    dropout: float = 0.0
    dilation: int = 1
    separable: bool = True
    residual: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = x
        for i in range(1, self.repeats + 1):
            if i > 1:
                y = Dropout(self.dropout, name=f"dropout{i - 1}")(self.act(y), train=train)
            if self.separable:
                depthwise = partial(self.conv, groups=y.shape[-1], dilation=self.dilation, kernel_init=he_depthwise)
                y = depthwise(y.shape[-1], (self.kernel,), name=f"depthwise{i}")(y)
                y = self.conv(self.features, (1,), name=f"pointwise{i}")(y)
            else:
                y = self.conv(self.features, (self.kernel,), dilation=self.dilation, name=f"conv{i}")(y)
            y = self.norm(name=f"norm{i}")(y, train=train)
        if self.residual:
            projected = self.conv(self.features, (1,), name="shortcut_conv")(x)
            y = y + self.norm(name="shortcut_norm")(projected, train=train)
        return Dropout(self.dropout, name="dropout")(self.act(y), train=train)


class MatchboxNet(nn.Module):
    """[B, frames, coefficients] -> logits; `blocks[i]` repeats in residual block i, of `features` channels.

    Their kernels have 13, 15, 17, ... frames. A map [B, frames, coefficients, C] is read as one of coefficients x C
    channels.
    """

    classes: int | None
    blocks: tuple[int, ...]
    features: int = 64
    dropout: float = 0.0
    conv: Layer = Conv
    norm: Layer = partial(BatchNorm, epsilon=1e-3)
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        x = coefficients_as_channels(x)
        require_size(x, rank=1, smallest=1, model="MatchboxNet")
        block = partial(
            TimeBlock,
            conv=partial(self.conv, use_bias=False, dtype=self.dtype),
            norm=partial(self.norm, dtype=self.dtype),
            act=self.act,
        )
        wide = partial(block, 128, repeats=1)
        features = {"stem": (x := wide(kernel=11, name="stem")(x, train=train))}
        for stage, repeats in enumerate(self.blocks, 1):
            middle = partial(block, self.features, 11 + 2 * stage, repeats, dropout=self.dropout, residual=True)
            features[f"stage{stage}"] = x = middle(name=f"stage{stage}")(x, train=train)
        x = wide(kernel=29, dilation=2, name="wide")(x, train=train)
        features["top"] = x = wide(kernel=1, separable=False, name="top")(x, train=train)
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_speech = partial(
    Variant,
    input_shape=(128, 64),
    classes=30,
    source="Majumdar & Ginsburg 2020, arXiv:2004.08531, table 2; NVIDIA/NeMo's matchboxnet_3x1x64",
)

matchboxnet_3x1x64 = _speech(build=partial(MatchboxNet, blocks=(1,) * 3), params=77_214, macs=9_195_264)
matchboxnet_3x2x64 = _speech(build=partial(MatchboxNet, blocks=(2,) * 3), params=92_766, macs=11_136_768)
matchboxnet_6x2x64 = _speech(build=partial(MatchboxNet, blocks=(2,) * 6), params=138_846, macs=16_887_552)
