"""Residual networks (He, Zhang, Ren & Sun 2015, arXiv:1512.03385): blocks, stems, and the ImageNet variants."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool

Shortcut = Callable[..., jax.Array]  # (x, channels, strides, conv=, norm=, train=) -> x brought to the block's output


def projection(x: jax.Array, channels: int, strides: int, *, conv: Layer, norm: Layer, train: bool) -> jax.Array:
    """Option B (section 3.3): a strided 1x1 convolution where the shape changes, the identity elsewhere."""
    if strides == 1 and x.shape[-1] == channels:
        return x
    return norm(name="shortcut_norm")(conv(channels, (1, 1), strides, name="shortcut_conv")(x), train=train)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 5, left)."""

    features: int
    strides: int
    shortcut: Shortcut
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.conv(self.features, (3, 3), self.strides, name="conv1")(x)
        y = self.act(self.norm(name="norm1")(y, train=train))
        y = self.norm(name="norm2")(self.conv(self.features, (3, 3), name="conv2")(y), train=train)
        return self.act(y + self.shortcut(x, y.shape[-1], self.strides, conv=self.conv, norm=self.norm, train=train))


class Bottleneck(nn.Module):
    """1x1, 3x3, and 1x1 convolution to 4 x `features` (figure 5, right).

    The stride is on the 3x3 convolution, as in all weights published since 2016 ("ResNet V1.5"), not on the first one.
    """

    features: int
    strides: int
    shortcut: Shortcut
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.act(self.norm(name="norm1")(self.conv(self.features, (1, 1), name="conv1")(x), train=train))
        y = self.conv(self.features, (3, 3), self.strides, name="conv2")(y)
        y = self.act(self.norm(name="norm2")(y, train=train))
        y = self.norm(name="norm3")(self.conv(4 * self.features, (1, 1), name="conv3")(y), train=train)
        return self.act(y + self.shortcut(x, y.shape[-1], self.strides, conv=self.conv, norm=self.norm, train=train))


def imagenet_stem(x: jax.Array, features: int, *, conv: Layer, norm: Layer, act: Activation, train: bool) -> jax.Array:
    """7x7 convolution and 3x3 max pooling, both of stride 2 (table 1)."""
    x = act(norm(name="stem_norm")(conv(features, (7, 7), 2, name="stem_conv")(x), train=train))
    return max_pool(x, 3, 2, padding=1)


def small_image_stem(
    x: jax.Array, features: int, *, conv: Layer, norm: Layer, act: Activation, train: bool
) -> jax.Array:
    """3x3 convolution of stride 1 (section 4.2)."""
    return act(norm(name="stem_norm")(conv(features, (3, 3), name="stem_conv")(x), train=train))


class ResNet(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i]` blocks of width `features` x 2^i and halves the size if i > 0."""

    classes: int
    blocks: tuple[int, ...]
    features: int = 64
    block: Layer = BasicBlock
    shortcut: Shortcut = projection
    stem: Callable[..., jax.Array] = imagenet_stem
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.stem(x, self.features, conv=conv, norm=norm, act=self.act, train=train)
        features = {"stem": x}
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                x = self.block(
                    features=self.features * 2**stage,
                    strides=2 if stage > 0 and i == 0 else 1,
                    shortcut=self.shortcut,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage + 1}"] = x
        features["pooled"] = x = global_average_pool(x)
        return nn.Dense(self.classes, dtype=jnp.float32, name="classifier")(x), features


TABLE_1 = "He et al. 2015, arXiv:1512.03385, table 1"
_imagenet = partial(Variant, input_shape=(224, 224, 3), classes=1000, source=TABLE_1)

resnet18 = _imagenet(build=partial(ResNet, blocks=(2, 2, 2, 2)), params=11_689_512, macs=1_814_073_344)
resnet34 = _imagenet(build=partial(ResNet, blocks=(3, 4, 6, 3)), params=21_797_672, macs=3_663_761_408)
resnet50 = _imagenet(
    build=partial(ResNet, blocks=(3, 4, 6, 3), block=Bottleneck), params=25_557_032, macs=4_089_184_256
)
resnet101 = _imagenet(
    build=partial(ResNet, blocks=(3, 4, 23, 3), block=Bottleneck), params=44_549_160, macs=7_801_405_440
)
resnet152 = _imagenet(
    build=partial(ResNet, blocks=(3, 8, 36, 3), block=Bottleneck), params=60_192_808, macs=11_513_626_624
)
resnet18_small = Variant(
    build=partial(ResNet, blocks=(2, 2, 2, 2), stem=small_image_stem),
    input_shape=(32, 32, 3),
    classes=10,
    params=11_173_962,
    macs=555_422_720,
    source=f"{TABLE_1}, with the stem of section 4.2",
)
