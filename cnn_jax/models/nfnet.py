"""Normaliser-free networks NFNet-F (Brock et al. 2021, arXiv:2102.06171): scaled weights in place of BatchNorm."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.attention import SqueezeExcite
from cnn_jax.models.drop import DropPath
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Dropout, Layer, global_average_pool
from cnn_jax.models.norms import ScaledWeightStandardizedConv
from cnn_jax.models.resnet_d import average
from cnn_jax.models.variant import Variant

ALPHA = 0.2  # weight of a residual branch, so each block adds ALPHA^2 to the variance (section 2)


def scaled_gelu(x: jax.Array) -> jax.Array:
    """GELU that keeps the variance of a unit normal x (Brock et al. 2021, arXiv:2101.08692, section 4.1)."""
    return nn.gelu(x, approximate=False) * 1.7015043497085571


class NFBlock(nn.Module):
    """x + alpha * branch(beta * act(x)) with 1x1, two grouped 3x3, 1x1 convolutions and attention (figure 3).

    beta: 1 / the standard deviation that x has at the start. The branch's last gain starts at zero (SkipInit).
    """

    features: int
    strides: int
    beta: float
    drop_rate: float
    conv: Layer
    act: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        inner = self.features // 2
        y = self.act(x) * self.beta
        if self.strides > 1 or x.shape[-1] != self.features:
            x = self.conv(self.features, (1, 1), name="shortcut_conv")(average(y, self.strides))
        y = self.act(self.conv(inner, (1, 1), name="conv1")(y))
        y = self.act(self.conv(inner, (3, 3), self.strides, groups=inner // 128, name="conv2")(y))
        y = self.act(self.conv(inner, (3, 3), groups=inner // 128, name="conv3")(y))
        y = self.conv(self.features, (1, 1), name="conv4")(y)
        # gates are about 1/2 at the start
        y = 2.0 * SqueezeExcite(self.features // 2, dtype=self.dtype, name="attention")(y)
        y = DropPath(self.drop_rate, name="drop")(y, train=train)
        gain = self.param("skipinit_gain", nn.initializers.zeros, (), jnp.float32)
        return x + y * (ALPHA * gain).astype(y.dtype)


class NFNet(nn.Module):
    """[B, H, W, C] -> logits; four stages of `blocks[i]` blocks (table 1), all but the first halving the size.

    dropout: before the classifier. drop_path: rate of the last block's branch; it grows from 0 in the first.
    """

    classes: int | None
    blocks: tuple[int, ...]
    dropout: float = 0.0
    drop_path: float = 0.0
    conv: Layer = ScaledWeightStandardizedConv
    act: Activation = scaled_gelu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        conv = partial(self.conv, padding="SAME", dtype=self.dtype)  # as the published weights
        for i, (width, strides) in enumerate(((16, 2), (32, 1), (64, 1)), start=1):
            x = self.act(conv(width, (3, 3), strides, name=f"stem_conv{i}")(x))
        features = {"stem": (x := conv(128, (3, 3), 2, name="stem_conv4")(x))}
        variance = 1.0
        for stage, (count, width) in enumerate(zip(self.blocks, (256, 512, 1536, 1536), strict=True)):
            for i in range(count):
                depth = (sum(self.blocks[:stage]) + i) / max(sum(self.blocks) - 1, 1)
                x = NFBlock(
                    features=width,
                    strides=2 if stage > 0 and i == 0 else 1,
                    beta=variance**-0.5,
                    drop_rate=self.drop_path * depth,
                    conv=conv,
                    act=self.act,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train=train)
                variance = (1.0 if i == 0 else variance) + ALPHA**2  # a convolution on the shortcut makes it 1 again
            features[f"stage{stage + 1}"] = x
        if self.classes is None:
            return features
        x = self.act(conv(3072, (1, 1), name="last_conv")(x))
        features["pooled"] = x = global_average_pool(x)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        init = nn.initializers.normal(0.01)
        return classified(x, features, self.classes, kernel_init=init)


_imagenet = partial(Variant, classes=1000, source="Brock et al. 2021, arXiv:2102.06171, table 1")

nfnet_f0 = _imagenet(
    build=partial(NFNet, blocks=(1, 2, 6, 3)),
    input_shape=(192, 192, 3),
    params=71_489_284,
    macs=6_977_003_520,
    reference="timm:dm_nfnet_f0",
)
nfnet_f1 = _imagenet(
    build=partial(NFNet, blocks=(2, 4, 12, 6)),
    input_shape=(224, 224, 3),
    params=132_634_256,
    macs=17_437_921_280,
    reference="timm:dm_nfnet_f1",
)

dm_nfnet_f0, dm_nfnet_f1 = nfnet_f0, nfnet_f1  # their names in timm
