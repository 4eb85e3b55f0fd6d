"""DS-CNN for keyword spotting (Zhang, Suda, Lai & Chandra 2017, arXiv:1711.07128): depthwise separable convolutions.

They read 49 frames of 10 MFCC (windows of 40 ms every 20 ms, 40 mel bands of 20 to 4,000 Hz, as TensorFlow makes
them): `SpectrogramNet(net=ds_cnn_s, front=mfcc(...))`.
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
    Layer,
    global_average_pool,
    he_depthwise,
    require_size,
)
from cnn_jax.models.variant import Variant


class SeparableConv(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each with bias, norm and activation."""

    features: int
    strides: tuple[int, int]
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        depthwise = partial(self.conv, groups=channels, kernel_init=he_depthwise, name="depthwise")
        x = depthwise(channels, (3, 3), self.strides, padding=same(x.shape[1:3], (3, 3), self.strides))(x)
        x = self.act(self.norm(name="norm1")(x, train=train))
        x = self.conv(self.features, (1, 1), name="pointwise")(x)
        return self.act(self.norm(name="norm2")(x, train=train))


class DSCNN(nn.Module):
    """[B, frames, coefficients, C] -> logits: a convolution of 10 frames by 4, then `len(strides)` separable ones.

    stem: strides of the first convolution, in time and in coefficients; strides: those of the others. Padding is
    TensorFlow's SAME, whose odd zero comes last.
    """

    classes: int | None
    features: int
    stem: tuple[int, int]
    strides: tuple[tuple[int, int], ...]
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="DSCNN")
        conv, norm = partial(self.conv, dtype=self.dtype), partial(self.norm, dtype=self.dtype)
        padding = same(x.shape[1:3], (10, 4), self.stem)
        x = conv(self.features, (10, 4), self.stem, padding=padding, name="stem_conv")(x)
        features = {"stem": (x := self.act(norm(name="stem_norm")(x, train=train)))}
        for stage, strides in enumerate(self.strides, 1):
            x = SeparableConv(self.features, strides, conv, norm, self.act, name=f"stage{stage}")(x, train=train)
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


def same(spatial: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """TensorFlow's SAME padding for maps of this size."""
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(spatial, window, strides, strict=True)]
    return [(length // 2, length - length // 2) for length in total]


_speech = partial(
    Variant, input_shape=(49, 10, 1), classes=12, source="Zhang et al. 2017, arXiv:1711.07128, table 7; ARM's ML-KWS"
)
_plain = ((1, 1),) * 3

ds_cnn_s = _speech(
    build=partial(DSCNN, features=64, stem=(2, 2), strides=((1, 1), *_plain)), params=23_756, macs=2_656_768
)
ds_cnn_m = _speech(
    build=partial(DSCNN, features=172, stem=(2, 1), strides=((2, 2), *_plain)), params=138_128, macs=9_816_384
)
ds_cnn_l = _speech(
    build=partial(DSCNN, features=276, stem=(2, 1), strides=((2, 2), *_plain, (1, 1))), params=416_772, macs=28_327_812
)
