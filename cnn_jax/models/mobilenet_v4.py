"""MobileNetV4 (Qin et al. 2024, arXiv:2404.10518), the convolutional networks: universal inverted bottlenecks."""

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


class ConvBlock(nn.Module):
    """Convolution, norm, activation."""

    features: int
    kernel: int
    strides: int = 1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.conv(self.features, (self.kernel, self.kernel), self.strides, name="conv")(x)
        return self.act(self.norm(name="norm")(x, train=train))


class UniversalBlock(nn.Module):
    """Inverted bottleneck with optional depthwise convolutions before and after the expansion (figure 4).

    `start` and `middle` are their sizes, 0 for none: both is the paper's ExtraDW, the second alone MobileNetV2's
    block, the first alone ConvNeXt's. The stride is on the last one there is.
    """

    features: int
    expansion: int
    start: int = 0
    middle: int = 0
    strides: int = 1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = x
        if self.start:
            strides = 1 if self.middle else self.strides
            y = self.norm(name="start_norm")(self.depthwise(y, self.start, strides, "start_conv"), train=train)
        y = self.conv(self.expansion * x.shape[-1], (1, 1), name="expand_conv")(y)
        y = self.act(self.norm(name="expand_norm")(y, train=train))
        if self.middle:
            y = self.depthwise(y, self.middle, self.strides, "middle_conv")
            y = self.act(self.norm(name="middle_norm")(y, train=train))
        y = self.norm(name="project_norm")(self.conv(self.features, (1, 1), name="project_conv")(y), train=train)
        return x + y if self.strides == 1 and x.shape[-1] == self.features else y

    def depthwise(self, x: jax.Array, kernel: int, strides: int, name: str) -> jax.Array:
        channels = x.shape[-1]
        conv = self.conv(channels, (kernel, kernel), strides, groups=channels, kernel_init=he_depthwise, name=name)
        return conv(x)


CONV_SMALL: tuple[tuple[Layer, ...], ...] = (
    (partial(ConvBlock, 32, 3, 2), partial(ConvBlock, 32, 1)),
    (partial(ConvBlock, 96, 3, 2), partial(ConvBlock, 64, 1)),
    (
        partial(UniversalBlock, 96, 3, start=5, middle=5, strides=2),
        *[partial(UniversalBlock, 96, 2, middle=3)] * 4,
        partial(UniversalBlock, 96, 4, start=3),
    ),
    (
        partial(UniversalBlock, 128, 6, start=3, middle=3, strides=2),
        partial(UniversalBlock, 128, 4, start=5, middle=5),
        partial(UniversalBlock, 128, 4, middle=5),
        partial(UniversalBlock, 128, 3, middle=5),
        *[partial(UniversalBlock, 128, 4, middle=3)] * 2,
    ),
    (partial(ConvBlock, 960, 1),),
)


class MobileNetV4(nn.Module):
    """[B, H, W, C] -> logits; `stages` builds the blocks, each given `conv`, `norm`, `act` and `name`.

    The last convolution of 1280 channels reads the pooled vector, as in MobileNetV3.
    """

    classes: int | None
    stages: tuple[tuple[Layer, ...], ...]
    dropout: float = 0.0
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="MobileNetV4")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.act(norm(name="stem_norm")(conv(32, (3, 3), 2, name="stem_conv")(x), train=train))
        features = {"stem": x}
        for stage, blocks in enumerate(self.stages, 1):
            for i, block in enumerate(blocks, 1):
                x = block(conv=conv, norm=norm, act=self.act, name=f"stage{stage}_block{i}")(x, train=train)
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = conv(1280, (1, 1), name="head_conv")(x[:, None, None])
        x = self.act(norm(name="head_norm")(x, train=train))[:, 0, 0]
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)


mobilenet_v4_conv_small = Variant(
    build=partial(MobileNetV4, stages=CONV_SMALL),
    input_shape=(224, 224, 3),
    classes=1000,
    params=3_774_024,
    macs=186_005_568,
    source="Qin et al. 2024, arXiv:2404.10518, appendix, MNv4-Conv-S",
    reference="timm:mobilenetv4_conv_small",
)

mobilenetv4_conv_small = mobilenet_v4_conv_small  # its name in timm
