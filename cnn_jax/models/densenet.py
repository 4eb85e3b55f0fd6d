"""Densely connected networks with bottlenecks and compression, DenseNet-BC (Huang et al. 2017, arXiv:1608.06993)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.resnet import imagenet_stem
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import avg_pool


class DenseLayer(nn.Module):
    """norm, act, 1x1 to 4 x `growth`, norm, act, 3x3 to `growth` ("Bottleneck layers" in section 3): the new maps."""

    growth: int
    dropout: float
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.act(self.norm(name="norm1")(x, train=train))
        x = self.conv(4 * self.growth, (1, 1), name="conv1")(x)
        x = self.act(self.norm(name="norm2")(x, train=train))
        x = self.conv(self.growth, (3, 3), name="conv2")(x)
        return Dropout(self.dropout, name="dropout")(x, train=train)


class Transition(nn.Module):
    """norm, act, 1x1 to half the channels, 2x2 average pooling (section 3, "Compression" with theta = 0.5)."""

    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.act(self.norm(name="norm")(x, train=train))
        return avg_pool(self.conv(x.shape[-1] // 2, (1, 1), name="conv")(y), 2)


def plain_stem(x: jax.Array, features: int, *, conv: Layer, norm: Layer, act: Activation, train: bool) -> jax.Array:
    """3x3 convolution of stride 1 for small images; the norm and activation come with the first layer (section 3)."""
    del norm, act, train
    return conv(features, (3, 3), name="stem_conv")(x)


class DenseNet(nn.Module):
    """[B, H, W, C] -> logits. Stage i has `blocks[i]` layers that each read all maps before them and add `growth` more.

    "stage1", ... are the concatenated maps, not yet normalised, except for the last, which is activated. The stem is
    2 x `growth` wide where `features` is 0. Raises ValueError where the map is too small to be halved between stages.
    """

    classes: int | None
    blocks: tuple[int, ...]
    growth: int
    features: int = 0
    dropout: float = 0.0
    stem: Callable[..., jax.Array] = imagenet_stem
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.stem(x, self.features or 2 * self.growth, conv=conv, norm=norm, act=self.act, train=train)
        require_size(x, rank=2, smallest=2 ** (len(self.blocks) - 1), model="DenseNet after its stem")
        features = {"stem": x}
        for stage, count in enumerate(self.blocks, 1):
            if stage > 1:
                x = Transition(conv, norm, self.act, name=f"transition{stage - 1}")(x, train=train)
            for i in range(count):
                layer = DenseLayer(self.growth, self.dropout, conv, norm, self.act, name=f"stage{stage}_layer{i + 1}")
                x = jnp.concatenate([x, layer(x, train=train)], axis=-1)
            features[f"stage{stage}"] = x
        features[f"stage{len(self.blocks)}"] = x = self.act(norm(name="norm")(x, train=train))
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Huang et al. 2017, arXiv:1608.06993, table 1"
)
densenet121 = _imagenet(
    build=partial(DenseNet, blocks=(6, 12, 24, 16), growth=32),
    params=7_978_856,
    macs=2_834_161_664,
    reference="torchvision:densenet121",
)
densenet161 = _imagenet(
    build=partial(DenseNet, blocks=(6, 12, 36, 24), growth=48),
    params=28_681_000,
    macs=7_727_907_072,
    reference="torchvision:densenet161",
)
densenet169 = _imagenet(
    build=partial(DenseNet, blocks=(6, 12, 32, 32), growth=32),
    params=14_149_480,
    macs=3_359_843_328,
    reference="torchvision:densenet169",
)
densenet201 = _imagenet(
    build=partial(DenseNet, blocks=(6, 12, 48, 32), growth=32),
    params=20_013_928,
    macs=4_291_365_888,
    reference="torchvision:densenet201",
)

_cifar = partial(
    Variant, input_shape=(32, 32, 3), classes=10, source="Huang et al. 2017, arXiv:1608.06993, section 4.2, table 2"
)
# depth d: three stages of (d - 4) / 6 layers of two convolutions each
densenet_bc_100_12 = _cifar(
    build=partial(DenseNet, blocks=(16, 16, 16), growth=12, stem=plain_stem), params=769_162, macs=287_929_692
)
densenet_bc_190_40 = _cifar(
    build=partial(DenseNet, blocks=(31, 31, 31), growth=40, stem=plain_stem), params=25_624_430, macs=9_301_945_740
)
