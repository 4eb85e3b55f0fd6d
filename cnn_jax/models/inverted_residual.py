"""Inverted residuals (Sandler et al. 2018, arXiv:1801.04381), and the network that most of their families are."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.attention import SqueezeExcite
from cnn_jax.models.drop import DropPath
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


class InvertedResidual(nn.Module):
    """1x1 convolution to `expanded` channels, depthwise convolution, linear 1x1 convolution to `features` (figure 4d).

    The first is left out where it would not widen; the input is added where the shapes agree, if `shortcut`. `squeeze`
    builds the channel attention behind the depthwise convolution (Howard et al. 2019, arXiv:1905.02244, figure 4).
    """

    features: int
    kernel: int
    strides: int
    expanded: int
    conv: Layer
    norm: Layer
    act: Activation
    squeeze: Layer | None = None
    drop_path: float = 0.0
    dilation: int = 1
    shortcut: bool = True

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.with_expansion(x, train=train)[0]

    @nn.compact
    def with_expansion(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """What the block makes of x, and what it expanded it to."""
        y = x
        if self.expanded != x.shape[-1]:
            y = self.conv(self.expanded, (1, 1), name="expand_conv")(y)
            y = self.act(self.norm(name="expand_norm")(y, train=train))
        expansion = y
        y = self.conv(
            self.expanded,
            (self.kernel, self.kernel),
            self.strides,
            dilation=self.dilation,
            groups=self.expanded,
            kernel_init=he_depthwise,
            name="depthwise_conv",
        )(y)
        y = self.act(self.norm(name="depthwise_norm")(y, train=train))
        if self.squeeze is not None:
            y = self.squeeze(name="squeeze")(y)
        y = self.norm(name="project_norm")(self.conv(self.features, (1, 1), name="project_conv")(y), train=train)
        y = _residual(x, y, self.strides, self.drop_path, train=train) if self.shortcut else y
        return y, expansion


class FusedInvertedResidual(nn.Module):
    """One full convolution in place of the 1x1 and the depthwise one (Tan & Le 2021, arXiv:2104.00298, figure 2).

    Where it would not widen, that convolution is the whole block, activated.
    """

    features: int
    kernel: int
    strides: int
    expanded: int
    conv: Layer
    norm: Layer
    act: Activation
    drop_path: float = 0.0
    dilation: int = 1
    shortcut: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        widens = self.expanded != x.shape[-1]
        inner, window = self.expanded if widens else self.features, (self.kernel, self.kernel)
        y = self.conv(inner, window, self.strides, dilation=self.dilation, name="conv")(x)
        y = self.act(self.norm(name="norm")(y, train=train))
        if widens:
            y = self.norm(name="project_norm")(self.conv(self.features, (1, 1), name="project_conv")(y), train=train)
        return _residual(x, y, self.strides, self.drop_path, train=train) if self.shortcut else y


def _residual(x: jax.Array, y: jax.Array, strides: int, drop_path: float, *, train: bool) -> jax.Array:
    if strides > 1 or x.shape[-1] != y.shape[-1]:
        return y
    return x + DropPath(drop_path, name="drop_path")(y, train=train)


class Stage(NamedTuple):
    """Blocks of `features` channels: the first has the strides; all widen their input `expansion` times inside."""

    kernel: int
    strides: int
    expansion: int
    features: int
    fused: bool = False


class InvertedResidualNet(nn.Module):
    """[B, H, W, C] -> logits: 3x3 convolution of stride 2, stages of blocks, 1x1 convolution, pooling, classifier.

    stages, blocks: what stage i is made of, and how many blocks it has.
    stem, head: channels of the first and of the last convolution; the latter counts as one more stage.
    squeeze: squeeze-and-excitation in the blocks that are not fused, 1/4 as wide as the block's input.
    drop_path: the rate after the last block; it grows linearly from 0 before the first one.
    output_stride: the largest stride of a map, 8, 16 or 32 (`output_stride.dilated`).
    """

    classes: int | None
    stages: tuple[Stage, ...]
    blocks: tuple[int, ...]
    stem: int = 32
    head: int = 1280
    squeeze: bool = False
    dropout: float = 0.2
    drop_path: float = 0.0
    output_stride: int = 32
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="this network of inverted residuals")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.act(norm(name="stem_norm")(conv(self.stem, (3, 3), 2, name="stem_conv")(x), train=train))
        features = {"stem": x}
        _, *samplings = dilated([2, *(stage.strides for stage in self.stages)], self.output_stride)
        done = 0
        for number, (stage, count) in enumerate(zip(self.stages, self.blocks, strict=True), 1):
            for i in range(count):
                sampling = samplings[number - 1].of_block(i)
                block = FusedInvertedResidual if stage.fused else self._squeezing(x.shape[-1])
                x = block(
                    features=stage.features,
                    kernel=stage.kernel,
                    strides=sampling.strides,
                    dilation=sampling.before,
                    shortcut=i > 0 or stage.strides == 1,  # whatever has become of the stride
                    expanded=stage.expansion * x.shape[-1],
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    drop_path=self.drop_path * done / sum(self.blocks),
                    name=f"stage{number}_{'fused' if stage.fused else 'block'}{i + 1}",
                )(x, train=train)
                done += 1
            features[f"stage{number}"] = x
        last = f"stage{len(self.stages) + 1}"
        x = self.act(norm(name=f"{last}_norm")(conv(self.head, (1, 1), name=f"{last}_conv")(x), train=train))
        features[last] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)

    def _squeezing(self, channels: int) -> Layer:
        if not self.squeeze:
            return InvertedResidual
        squeeze = partial(SqueezeExcite, reduced=channels // 4, act=self.act, conv=self.conv, dtype=self.dtype)
        return partial(InvertedResidual, squeeze=squeeze)


def round_channels(channels: float) -> int:
    """The multiple of 8 next to `channels`, but not under 0.9 of it (Sandler et al. 2018, the authors' code)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def scale_width(stages: Sequence[Stage], width: float) -> tuple[Stage, ...]:
    """The stages with `width` times as many channels, rounded."""
    return tuple(stage._replace(features=round_channels(stage.features * width)) for stage in stages)
