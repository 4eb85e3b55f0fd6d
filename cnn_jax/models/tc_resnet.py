"""TC-ResNet for keyword spotting (Choi et al. 2019, arXiv:1904.03814): convolutions over time alone.

The coefficients of a spectrogram are the channels. They read 98 frames of 40 MFCC:
`SpectrogramNet(net=tc_resnet8, front=mfcc(...))`.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.ds_cnn import same
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant


class TemporalBlock(nn.Module):
    """Two convolutions of 9 frames (figure 2b, c); where the width changes it halves the length, and projects."""

    features: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        strides = 1 if x.shape[-1] == self.features else 2
        shortcut = x
        if strides == 2:
            shortcut = self.conv(self.features, (1,), 2, name="shortcut_conv")(x)
            shortcut = self.act(self.norm(name="shortcut_norm")(shortcut, train=train))
        y = self.conv(self.features, (9,), strides, padding=same(x.shape[1:2], (9,), (strides,)), name="conv1")(x)
        y = self.act(self.norm(name="norm1")(y, train=train))
        y = self.norm(name="norm2")(self.conv(self.features, (9,), name="conv2")(y), train=train)
        return self.act(y + shortcut)


class TCResNet(nn.Module):
    """[B, frames, coefficients] -> logits; stage i has `blocks[i]` blocks of `features[i]` channels.

    A map [B, frames, coefficients, C] is read as one of coefficients x C channels.
    """

    classes: int | None
    blocks: tuple[int, ...]
    features: tuple[int, ...] = (24, 32, 48)
    stem: int = 16
    dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        x = coefficients_as_channels(x)
        require_size(x, rank=1, smallest=1, model="TCResNet")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = conv(self.stem, (3,), name="stem_conv")(x)
        features = {"stem": (x := self.act(norm(name="stem_norm")(x, train=train)))}
        for stage, (width, count) in enumerate(zip(self.features, self.blocks, strict=True), 1):
            for i in range(1, count + 1):
                x = TemporalBlock(width, conv, norm, self.act, name=f"stage{stage}_block{i}")(x, train=train)
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes, use_bias=False)


def coefficients_as_channels(x: jax.Array) -> jax.Array:
    """A map [B, frames, coefficients, C] as the signal [B, frames, coefficients C] of networks over time."""
    return x.reshape(*x.shape[:2], -1) if x.ndim == 4 else x


_speech = partial(
    Variant,
    input_shape=(98, 40),
    classes=12,
    source="Choi et al. 2019, arXiv:1904.03814, table 1; hyperconnect/TC-ResNet",
)

tc_resnet8 = _speech(build=partial(TCResNet, blocks=(1, 1, 1)), params=65_168, macs=1_522_560)
tc_resnet14 = _speech(build=partial(TCResNet, blocks=(2, 2, 2)), params=135_856, macs=3_030_528)
tc_resnet14_15 = _speech(
    build=partial(TCResNet, blocks=(2, 2, 2), features=(36, 48, 72), stem=24), params=303_000, macs=6_677_136
)
