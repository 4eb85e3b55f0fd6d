"""GhostNet (Han et al. 2020, arXiv:1911.11907): half of every map comes from the other half by a cheap convolution."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.attention import SqueezeExcite
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
from cnn_jax.models.norms import no_activation
from cnn_jax.models.variant import Variant


def multiple_of_4(channels: float) -> int:
    """The nearest multiple of 4 (the larger of two), but never less than nine tenths of `channels`."""
    rounded = max(4, int(channels + 2) // 4 * 4)
    return rounded if rounded >= 0.9 * channels else rounded + 4


class GhostModule(nn.Module):
    """[B, H, W, C] -> [B, H, W, features]: a 1x1 convolution makes one half, a depthwise 3x3 of it the other (fig. 2b).

    An odd number of `features` leaves the last map of the second half out.
    """

    features: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        half = -(-self.features // 2)
        x = self.act(self.norm(name="norm1")(self.conv(half, (1, 1), name="primary")(x), train=train))
        y = self.conv(half, (3, 3), groups=half, kernel_init=he_depthwise, name="cheap")(x)
        y = self.act(self.norm(name="norm2")(y, train=train))
        return jnp.concatenate([x, y], axis=-1)[..., : self.features]


class GhostBlock(nn.Module):
    """Expansion and projection by ghost modules, plus the shortcut (figure 3).

    With stride 2 a depthwise convolution stands between them, with `squeeze` a squeeze-and-excitation to a quarter.
    """

    expanded: int
    features: int
    kernel: int
    strides: int
    squeeze: bool
    conv: Layer
    norm: Layer
    act: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = GhostModule(self.expanded, self.conv, self.norm, self.act, name="ghost1")(x, train=train)
        if self.strides > 1:
            y = self.norm(name="depthwise_norm")(self.depthwise(y, "depthwise"), train=train)
        if self.squeeze:
            reduced = multiple_of_4(self.expanded / 4)
            y = SqueezeExcite(reduced, gate=nn.hard_sigmoid, dtype=self.dtype, name="squeeze")(y)
        y = GhostModule(self.features, self.conv, self.norm, no_activation, name="ghost2")(y, train=train)
        if self.strides > 1 or x.shape[-1] != self.features:
            x = self.norm(name="shortcut_norm1")(self.depthwise(x, "shortcut_depthwise"), train=train)
            x = self.conv(self.features, (1, 1), name="shortcut_pointwise")(x)
            x = self.norm(name="shortcut_norm2")(x, train=train)
        return x + y

    def depthwise(self, x: jax.Array, name: str) -> jax.Array:
        channels, window = x.shape[-1], (self.kernel, self.kernel)
        return self.conv(channels, window, self.strides, groups=channels, kernel_init=he_depthwise, name=name)(x)


# table 1, stage by stage: (kernel, expanded, features, squeeze); the first block of all stages but one has stride 2
STAGES = (
    ((3, 16, 16, False),),
    ((3, 48, 24, False), (3, 72, 24, False)),
    ((5, 72, 40, True), (5, 120, 40, True)),
    (
        (3, 240, 80, False),
        (3, 200, 80, False),
        (3, 184, 80, False),
        (3, 184, 80, False),
        (3, 480, 112, True),
        (3, 672, 112, True),
    ),
    ((5, 672, 160, True), (5, 960, 160, False), (5, 960, 160, True), (5, 960, 160, False), (5, 960, 160, True)),
)


class GhostNet(nn.Module):
    """[B, H, W, C] -> logits; all widths of table 1 but the last 1280 are scaled by `width`.

    "stage6" is the last 1x1 convolution before the pooling; the one of 1280 channels reads the pooled vector.
    """

    classes: int | None
    width: float = 1.0
    stages: tuple[tuple[tuple[int, int, int, bool], ...], ...] = STAGES
    dropout: float = 0.2
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="GhostNet")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = conv(multiple_of_4(16 * self.width), (3, 3), 2, name="stem_conv")(x)
        features = {"stem": (x := self.act(norm(name="stem_norm")(x, train=train)))}
        for stage, blocks in enumerate(self.stages, 1):
            for i, (kernel, expanded, channels, squeeze) in enumerate(blocks, 1):
                x = GhostBlock(
                    expanded=multiple_of_4(expanded * self.width),
                    features=multiple_of_4(channels * self.width),
                    kernel=kernel,
                    strides=2 if stage > 1 and i == 1 else 1,
                    squeeze=squeeze,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{i}",
                )(x, train=train)
            features[f"stage{stage}"] = x
        x = conv(multiple_of_4(960 * self.width), (1, 1), name="stage6_conv")(x)
        features["stage6"] = x = self.act(norm(name="stage6_norm")(x, train=train))
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = self.act(conv(1280, (1, 1), use_bias=True, name="head_conv")(x[:, None, None]))[:, 0, 0]
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)


_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Han et al. 2020, arXiv:1911.11907, tables 1 and 7"
)

ghostnet_050 = _imagenet(
    build=partial(GhostNet, width=0.5), params=2_587_292, macs=42_328_152, reference="timm:ghostnet_050"
)
ghostnet_100 = _imagenet(build=partial(GhostNet), params=5_182_508, macs=141_150_512, reference="timm:ghostnet_100")
ghostnet_130 = _imagenet(
    build=partial(GhostNet, width=1.3), params=7_358_820, macs=227_003_256, reference="timm:ghostnet_130"
)
