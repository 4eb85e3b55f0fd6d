"""Xception (Chollet 2017, arXiv:1610.02357): residual blocks of depthwise separable convolutions."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool


class SeparableConv(nn.Module):
    """3x3 convolution of each channel, then a 1x1 convolution across them, nothing in between (section 4.7)."""

    features: int
    conv: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x.shape[-1], (3, 3), groups=x.shape[-1], name="depthwise")(x)
        return self.conv(self.features, (1, 1), name="pointwise")(x)


class XceptionBlock(nn.Module):
    """act, separable convolution, norm, for each of `widths`; then 3x3 max pooling of stride 2 if `strides` is 2.

    Only the very first block has no activation in front: the stem has just applied it (figure 5).
    """

    widths: tuple[int, ...]
    strides: int
    activated: bool  # the input already is
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = x
        for i, width in enumerate(self.widths, 1):
            y = y if i == 1 and self.activated else self.act(y)
            y = SeparableConv(width, self.conv, name=f"conv{i}")(y)
            y = self.norm(name=f"norm{i}")(y, train=train)
        if self.strides == 1:
            return x + y
        x = self.conv(self.widths[-1], (1, 1), self.strides, name="shortcut_conv")(x)
        return max_pool(y, 3, self.strides, padding=1) + self.norm(name="shortcut_norm")(x, train=train)


class Xception(nn.Module):
    """[B, H, W, C] -> logits; H and W of at least 7, else ValueError.

    Stage i begins with a block that halves the size; its other `blocks[i]` - 1 blocks are of three convolutions each.
    The paper's middle flow is the end of stage 3, and its exit flow is stage 4 with two more convolutions.
    """

    classes: int | None
    blocks: tuple[int, int, int, int] = (1, 1, 9, 1)
    dropout: float = 0.0  # before the classifier: 0.5 in section 4.4
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=7, model="Xception")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        unpadded = [(0, 0), (0, 0)]
        x = conv(32, (3, 3), 2, padding=unpadded, name="stem_conv1")(x)
        x = self.act(norm(name="stem_norm1")(x, train=train))
        x = conv(64, (3, 3), padding=unpadded, name="stem_conv2")(x)
        x = self.act(norm(name="stem_norm2")(x, train=train))
        features = {"stem": x}
        entries = ((128, 128), (256, 256), (728, 728), (728, 1024))
        for stage, (count, entry) in enumerate(zip(self.blocks, entries, strict=True), 1):
            for i in range(count):
                x = XceptionBlock(
                    widths=(entry[-1],) * 3 if i else entry,
                    strides=1 if i else 2,
                    activated=stage == 1 and i == 0,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    name=f"stage{stage}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage}"] = x
        for i, width in enumerate((1536, 2048), 1):
            x = SeparableConv(width, conv, name=f"exit_conv{i}")(x)
            x = self.act(norm(name=f"exit_norm{i}")(x, train=train))
        features["stage4"] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)


xception = Variant(
    build=partial(Xception),
    input_shape=(299, 299, 3),
    classes=1000,
    params=22_855_952,
    macs=8_357_403_496,
    source="Chollet 2017, arXiv:1610.02357, figure 5 and table 3",
    reference="timm:legacy_xception",
)

legacy_xception = xception  # its name in timm
