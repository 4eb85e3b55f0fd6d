"""Darknet-53 (Redmon & Farhadi 2018, arXiv:1804.02767) and its cross stage partial form (Wang et al. 2019)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool
from cnn_jax.models.variant import Variant


class DarkBlock(nn.Module):
    """x + 3x3 convolution of a 1x1 convolution to `squeezed` channels; nothing after the sum (table 1)."""

    squeezed: int
    layer: Layer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.layer(self.squeezed, (1, 1), name="conv1")(x, train=train)
        return x + self.layer(x.shape[-1], (3, 3), name="conv2")(y, train=train)


class DarkStage(nn.Module):
    """3x3 convolution of stride 2 to `features` channels, then blocks that squeeze to half of them (table 1)."""

    features: int
    blocks: int
    layer: Layer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.layer(self.features, (3, 3), strides=2, name="down")(x, train=train)
        for i in range(self.blocks):
            x = DarkBlock(self.features // 2, self.layer, name=f"block{i + 1}")(x, train=train)
        return x


class CrossStage(nn.Module):
    """As `DarkStage`, but the blocks see half of the channels, without squeezing; the other half goes around them.

    Wang et al. 2019, arXiv:1911.11929, figure 3b. In the first stage (64 features) both halves are as wide as the
    stage and its block does squeeze, as in the authors' configuration.
    """

    features: int
    blocks: int
    layer: Layer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        half = max(self.features // 2, 64)
        x = self.layer(self.features, (3, 3), strides=2, name="down")(x, train=train)
        x = self.layer(2 * half, (1, 1), name="expand")(x, train=train)
        around, x = jnp.split(x, 2, axis=-1)
        for i in range(self.blocks):
            x = DarkBlock(self.features // 2, self.layer, name=f"block{i + 1}")(x, train=train)
        x = self.layer(half, (1, 1), name="transition")(x, train=train)
        return self.layer(self.features, (1, 1), name="merge")(jnp.concatenate([around, x], axis=-1), train=train)


class Darknet(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i - 1]` blocks, stride 2^i and 32 x 2^i channels.

    The activation is the leaky ReLU of slope 0.01 that the published ImageNet weights were trained with; the authors'
    detectors have a slope of 0.1.
    """

    classes: int | None
    blocks: tuple[int, ...] = (1, 2, 8, 8, 4)
    stage: Layer = DarkStage
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.leaky_relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        layer = partial(ConvNorm, conv=conv, norm=partial(self.norm, dtype=self.dtype), act=self.act)
        features = {"stem": (x := layer(32, (3, 3), name="stem")(x, train=train))}
        for i, count in enumerate(self.blocks, 1):
            features[f"stage{i}"] = x = self.stage(32 * 2**i, count, layer, name=f"stage{i}")(x, train=train)
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_imagenet = partial(Variant, input_shape=(256, 256, 3), classes=1000)
darknet53 = _imagenet(
    build=partial(Darknet),
    params=41_609_928,
    macs=9_285_115_904,
    source="Redmon & Farhadi 2018, arXiv:1804.02767, tables 1 and 2",
    reference="timm:darknet53",
)
cspdarknet53 = _imagenet(
    build=partial(Darknet, stage=CrossStage),
    params=27_642_184,
    macs=6_533_652_480,
    source="Bochkovskiy et al. 2020, arXiv:2004.10934, table 1",
    reference="timm:cspdarknet53",
)
