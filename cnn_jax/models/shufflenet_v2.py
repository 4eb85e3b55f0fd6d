"""ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164): half the channels pass a block untouched, then both halves mix."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool, he_depthwise, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """[..., C] -> the same channels in the order 0, C/g, 2C/g, ..., 1, C/g + 1, ... (arXiv:1707.01083, section 3.1)."""
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape)


class ShuffleBlock(nn.Module):
    """Figure 3c; with stride 2 figure 3d, where both halves of the output are computed from the whole input."""

    features: int
    strides: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        half = self.features // 2
        if self.strides == 1:
            left, right = jnp.split(x, 2, axis=-1)
        else:
            left = self.norm(name="left_norm1")(self.depthwise(x, "left_depthwise"), train=train)
            left = self.conv(half, (1, 1), name="left_pointwise")(left)
            left = self.act(self.norm(name="left_norm2")(left, train=train))
            right = x
        right = self.act(self.norm(name="norm1")(self.conv(half, (1, 1), name="conv1")(right), train=train))
        right = self.norm(name="norm2")(self.depthwise(right, "depthwise"), train=train)
        right = self.act(self.norm(name="norm3")(self.conv(half, (1, 1), name="conv2")(right), train=train))
        return channel_shuffle(jnp.concatenate([left, right], axis=-1), 2)

    def depthwise(self, x: jax.Array, name: str) -> jax.Array:
        channels = x.shape[-1]
        return self.conv(channels, (3, 3), self.strides, groups=channels, kernel_init=he_depthwise, name=name)(x)


class ShuffleNetV2(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i]` blocks of `widths[i]` channels, the first of stride 2 (table 5).

    The stem's convolution and pooling have stride 2 too; `head` is the width of the last 1x1 convolution, "stage4".
    """

    classes: int | None
    widths: tuple[int, ...]
    blocks: tuple[int, ...] = (4, 8, 4)
    head: int = 1024
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="ShuffleNetV2")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.act(norm(name="stem_norm")(conv(24, (3, 3), 2, name="stem_conv")(x), train=train))
        features = {"stem": (x := max_pool(x, 3, 2, padding=1))}
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), 1):
            for i in range(count):
                x = ShuffleBlock(
                    features=width,
                    strides=2 if i == 0 else 1,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    name=f"stage{stage}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage}"] = x
        x = self.act(norm(name="stage4_norm")(conv(self.head, (1, 1), name="stage4_conv")(x), train=train))
        features["stage4"] = x
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Ma et al. 2018, arXiv:1807.11164, table 5"
)

shufflenet_v2_x0_5 = _imagenet(
    build=partial(ShuffleNetV2, widths=(48, 96, 192)),
    params=1_366_792,
    macs=40_476_448,
    reference="torchvision:shufflenet_v2_x0_5",
)
shufflenet_v2_x1_0 = _imagenet(
    build=partial(ShuffleNetV2, widths=(116, 232, 464)),
    params=2_278_604,
    macs=144_907_992,
    reference="torchvision:shufflenet_v2_x1_0",
)
shufflenet_v2_x1_5 = _imagenet(
    build=partial(ShuffleNetV2, widths=(176, 352, 704)),
    params=3_503_624,
    macs=295_759_392,
    reference="torchvision:shufflenet_v2_x1_5",
)
shufflenet_v2_x2_0 = _imagenet(
    build=partial(ShuffleNetV2, widths=(244, 488, 976), head=2048),
    params=7_393_996,
    macs=583_253_464,
    reference="torchvision:shufflenet_v2_x2_0",
)
