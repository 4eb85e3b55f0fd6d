"""Residual networks with pre-activation (He, Zhang, Ren & Sun 2016, arXiv:1603.05027), for 32x32 images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.cifar_resnet import zero_padding
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool
from cnn_jax.models.output_stride import dilated, stride_between
from cnn_jax.models.resnet import Shortcut
from cnn_jax.models.variant import Variant


def bare_projection(x: jax.Array, channels: int, strides: int, *, conv: Layer, norm: Layer, train: bool) -> jax.Array:
    """`resnet.projection` without a norm, for inputs that are normalised already."""
    del norm, train
    if strides == 1 and x.shape[-1] == channels:
        return x
    return conv(channels, (1, 1), strides, name="shortcut_conv")(x)


class PreActBasic(nn.Module):
    """Two 3x3 convolutions, each after norm and activation (figure 1b).

    shared: both paths read the activated input, as in the first block of each stage; elsewhere the input itself is
    carried on. Appendix: the first block of the network and the projections are so. dilations: of the convolution that
    has the stride, or had it, and of what comes behind it (`output_stride.dilated`).
    """

    features: int
    strides: int
    shared: bool
    shortcut: Shortcut
    conv: Layer
    norm: Layer
    act: Activation
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        before, after = self.dilations
        y = self.act(self.norm(name="norm1")(x, train=train))
        x = y if self.shared else x
        y = self.conv(self.features, (3, 3), self.strides, dilation=before, name="conv1")(y)
        y = self.act(self.norm(name="norm2")(y, train=train))
        y = self.conv(self.features, (3, 3), dilation=after, name="conv2")(y)
        return y + self.shortcut(x, y.shape[-1], self.strides, conv=self.conv, norm=self.norm, train=train)


class PreActBottleneck(nn.Module):
    """1x1, 3x3, and 1x1 convolution to 4 x `features`, each after norm and activation; `shared` as in PreActBasic.

    The stride is on the 3x3 convolution; with `strides_first` it is on the first one, as in the authors' code.
    """

    features: int
    strides: int
    shared: bool
    shortcut: Shortcut
    conv: Layer
    norm: Layer
    act: Activation
    strides_first: bool = False
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        first, second = (self.strides, 1) if self.strides_first else (1, self.strides)
        before, after = self.dilations
        dilation = after if self.strides_first else before  # the 3x3 comes behind the stride, or has it
        y = self.act(self.norm(name="norm1")(x, train=train))
        x = y if self.shared else x
        y = self.conv(self.features, (1, 1), first, name="conv1")(y)
        y = self.act(self.norm(name="norm2")(y, train=train))
        y = self.conv(self.features, (3, 3), second, dilation=dilation, name="conv2")(y)
        y = self.act(self.norm(name="norm3")(y, train=train))
        y = self.conv(4 * self.features, (1, 1), name="conv3")(y)
        return y + self.shortcut(x, y.shape[-1], self.strides, conv=self.conv, norm=self.norm, train=train)


def bare_stem(x: jax.Array, features: int, *, conv: Layer) -> jax.Array:
    """3x3 convolution of stride 1; its norm and activation are those of the first block."""
    return conv(features, (3, 3), name="stem_conv")(x)


class PreActResNet(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i]` blocks of width `features` x 2^i and halves the size if i > 0.

    output_stride: the largest stride of a map, 8, 16 or 32 (`output_stride.dilated`).
    """

    classes: int | None
    blocks: tuple[int, ...]
    features: int = 16
    output_stride: int = 32
    block: Layer = PreActBasic
    shortcut: Shortcut = bare_projection
    stem: Callable[..., jax.Array] = bare_stem
    classifier: Layer = nn.Dense
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        image, x = x, self.stem(x, self.features, conv=conv)
        features = {"stem": x}
        strides = [stride_between(image, x), 1, *[2] * (len(self.blocks) - 1)]
        _, *samplings = dilated(strides, self.output_stride)
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                sampling = samplings[stage].of_block(i)
                x = self.block(
                    features=self.features * 2**stage,
                    strides=sampling.strides,
                    dilations=(sampling.before, sampling.after),
                    shared=i == 0,
                    shortcut=self.shortcut,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage + 1}"] = x
        # the last map is activated: the sum of a pre-activation block is not
        features[f"stage{len(self.blocks)}"] = x = self.act(norm(name="norm")(x, train=train))
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes, layer=self.classifier)


_cifar = partial(Variant, input_shape=(32, 32, 3), classes=10)

preact_resnet18 = _cifar(
    build=partial(PreActResNet, blocks=(2, 2, 2, 2), features=64),
    params=11_172_170,
    macs=555_422_720,
    source="He et al. 2016, arXiv:1603.05027, figure 1b, in the sizes of ResNet-18 with a 3x3 stem",
)
preact_resnet110 = _cifar(
    build=partial(PreActResNet, blocks=(18, 18, 18), shortcut=zero_padding),
    params=1_727_962,
    macs=252_887_680,
    source="He et al. 2016, arXiv:1603.05027, table 3",
)
preact_resnet164 = _cifar(
    build=partial(PreActResNet, blocks=(18, 18, 18), block=partial(PreActBottleneck, strides_first=True)),
    params=1_703_258,
    macs=244_500_992,
    source="He et al. 2016, arXiv:1603.05027, table 3",
)
