"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861): 3x3 depthwise and 1x1 convolutions in turn, without shortcuts."""

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
from cnn_jax.models.output_stride import dilated
from cnn_jax.models.variant import Variant


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each with norm and activation (figure 3, right)."""

    features: int
    strides: int
    conv: Layer
    norm: Layer
    act: Activation
    dilation: int = 1  # of the depthwise convolution

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        depthwise = partial(self.conv, groups=x.shape[-1], dilation=self.dilation, kernel_init=he_depthwise)
        x = depthwise(x.shape[-1], (3, 3), self.strides, name="depthwise")(x)
        x = self.act(self.norm(name="norm1")(x, train=train))
        x = self.conv(self.features, (1, 1), name="pointwise")(x)
        return self.act(self.norm(name="norm2")(x, train=train))


class MobileNetV1(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i]` blocks of 64 x 2^i x `width` channels (table 1).

    output_stride: the largest stride of a map, 8, 16 or 32 (`output_stride.dilated`).
    """

    classes: int | None
    blocks: tuple[int, ...] = (1, 2, 2, 6, 2)
    width: float = 1.0
    dropout: float = 0.0
    output_stride: int = 32
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="MobileNetV1")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = conv(int(32 * self.width), (3, 3), 2, name="stem_conv")(x)
        features = {"stem": (x := self.act(norm(name="stem_norm")(x, train=train)))}
        _, *samplings = dilated([2, 1, *[2] * (len(self.blocks) - 1)], self.output_stride)
        for stage, (count, sampling) in enumerate(zip(self.blocks, samplings, strict=True)):
            for i in range(count):
                x = SeparableBlock(
                    features=int(64 * 2**stage * self.width),
                    strides=sampling.of_block(i).strides,
                    dilation=sampling.of_block(i).before,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage + 1}"] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)


_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Howard et al. 2017, arXiv:1704.04861, tables 1 and 6"
)

mobilenet_v1_025 = _imagenet(build=partial(MobileNetV1, width=0.25), params=470_072, macs=41_030_272)
mobilenet_v1_050 = _imagenet(build=partial(MobileNetV1, width=0.5), params=1_331_592, macs=149_497_088)
mobilenet_v1_075 = _imagenet(build=partial(MobileNetV1, width=0.75), params=2_585_560, macs=325_400_448)
mobilenet_v1_100 = _imagenet(
    build=partial(MobileNetV1), params=4_231_976, macs=568_740_352, reference="timm:mobilenetv1_100"
)
mobilenet_v1_125 = _imagenet(
    build=partial(MobileNetV1, width=1.25), params=6_270_840, macs=879_516_800, reference="timm:mobilenetv1_125"
)

# Their names in timm.
mobilenetv1_100, mobilenetv1_125 = mobilenet_v1_100, mobilenet_v1_125
