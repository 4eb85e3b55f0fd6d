"""RegNetX and RegNetY (Radosavovic et al. 2020, arXiv:2003.13678): residual networks whose widths follow a line."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.attention import SqueezeExcite
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool, require_size
from cnn_jax.models.output_stride import dilated
from cnn_jax.models.resnet import projection
from cnn_jax.models.variant import Variant


def quantised_line(
    depth: int, initial: int, slope: float, step: float, group_width: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and width of each stage of the network with these parameters (section 3.3).

    Block j would be u_j = initial + slope * j wide (equation 2). It gets the nearest width in the geometric sequence
    initial * step^s with whole s (equations 3 and 4), rounded to a multiple of 8. Blocks of one width are a stage;
    its width is then rounded to a multiple of its group width, which is at most the width itself.

    That last rounding is torchvision's: a tie goes up, and so does what would lose more than a tenth. The authors' is
    to the nearest, a tie to the even multiple, so three networks differ in the paper: X-400MF ends with 384 channels,
    not 400; Y-800MF has 128 and 768, not 144 and 784; Y-8GF begins with 168, not 224.
    """
    line = initial + slope * np.arange(depth)
    power = np.round(np.log(line / initial) / np.log(step))
    widths, blocks = np.unique(8 * np.round(initial * step**power / 8).astype(int), return_counts=True)
    groups = np.minimum(group_width, widths)
    rounded = (widths + groups // 2) // groups * groups
    rounded += groups * (rounded < 0.9 * widths)
    return tuple(blocks.tolist()), tuple(rounded.tolist())


class RegNetBlock(nn.Module):
    """1x1, grouped 3x3, and 1x1 convolution of one width, added to the shortcut (figure 4a, b = 1).

    `squeeze` > 0: squeeze-and-excitation after the 3x3, with a bottleneck of that fraction of the block's input.
    """

    features: int
    strides: int
    group_width: int
    squeeze: float
    conv: Layer
    norm: Layer
    act: Activation
    dtype: Any
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        groups = self.features // self.group_width
        y = self.act(self.norm(name="norm1")(self.conv(self.features, (1, 1), name="conv1")(x), train=train))
        y = self.conv(self.features, (3, 3), self.strides, dilation=self.dilation, groups=groups, name="conv2")(y)
        y = self.act(self.norm(name="norm2")(y, train=train))
        if self.squeeze:
            y = SqueezeExcite(round(self.squeeze * x.shape[-1]), self.act, dtype=self.dtype, name="squeeze")(y)
        y = self.norm(name="norm3")(self.conv(self.features, (1, 1), name="conv3")(y), train=train)
        return self.act(y + projection(x, self.features, self.strides, conv=self.conv, norm=self.norm, train=train))


class RegNet(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i]` blocks of `widths[i]` channels, the first of stride 2.

    output_stride: the largest stride of a map, 8, 16 or 32 (`output_stride.dilated`).
    """

    classes: int | None
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    group_width: int
    squeeze: float = 0.0
    output_stride: int = 32
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="RegNet")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.act(norm(name="stem_norm")(conv(32, (3, 3), 2, name="stem_conv")(x), train=train))
        features = {"stem": x}
        _, *samplings = dilated([2, *[2] * len(self.blocks)], self.output_stride)
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), 1):
            for i in range(count):
                sampling = samplings[stage - 1].of_block(i)
                x = RegNetBlock(
                    features=width,
                    strides=sampling.strides,
                    dilation=sampling.before,
                    group_width=min(self.group_width, width),
                    squeeze=self.squeeze,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        init = nn.initializers.normal(0.01)
        return classified(x, features, self.classes, kernel_init=init)


def _on_line(depth: int, initial: int, slope: float, step: float, group_width: int, squeeze: float = 0) -> partial[Any]:
    blocks, widths = quantised_line(depth, initial, slope, step, group_width)
    return partial(RegNet, blocks=blocks, widths=widths, group_width=group_width, squeeze=squeeze)


_imagenet = partial(Variant, input_shape=(224, 224, 3), classes=1000)
_x = partial(_imagenet, source="Radosavovic et al. 2020, arXiv:2003.13678, figure 16, rounded as by torchvision")
_y = partial(_imagenet, source="Radosavovic et al. 2020, arXiv:2003.13678, figure 17, rounded as by torchvision")

regnet_x_400mf = _x(
    build=_on_line(22, 24, 24.48, 2.54, 16), params=5_495_976, macs=413_812_608, reference="torchvision:regnet_x_400mf"
)
regnet_x_800mf = _x(
    build=_on_line(16, 56, 35.73, 2.28, 16), params=7_259_656, macs=799_699_712, reference="torchvision:regnet_x_800mf"
)
regnet_x_1_6gf = _x(
    build=_on_line(18, 80, 34.01, 2.25, 24),
    params=9_190_136,
    macs=1_602_849_792,
    reference="torchvision:regnet_x_1_6gf",
)
regnet_x_3_2gf = _x(
    build=_on_line(25, 88, 26.31, 2.25, 48),
    params=15_296_552,
    macs=3_176_621_952,
    reference="torchvision:regnet_x_3_2gf",
)
regnet_x_8gf = _x(
    build=_on_line(23, 80, 49.56, 2.88, 120),
    params=39_572_648,
    macs=7_995_132_416,
    reference="torchvision:regnet_x_8gf",
)
regnet_x_16gf = _x(
    build=_on_line(22, 216, 55.59, 2.1, 128),
    params=54_278_536,
    macs=15_940_755_456,
    reference="torchvision:regnet_x_16gf",
)
regnet_x_32gf = _x(
    build=_on_line(23, 320, 69.86, 2.0, 168),
    params=107_811_560,
    macs=31_735_929_792,
    reference="torchvision:regnet_x_32gf",
)
regnet_y_400mf = _y(
    build=_on_line(16, 48, 27.89, 2.09, 8, 0.25),
    params=4_344_144,
    macs=401_842_848,
    reference="torchvision:regnet_y_400mf",
)
regnet_y_800mf = _y(
    build=_on_line(14, 56, 38.84, 2.4, 16, 0.25),
    params=6_432_512,
    macs=833_856_256,
    reference="torchvision:regnet_y_800mf",
)
regnet_y_1_6gf = _y(
    build=_on_line(27, 48, 20.71, 2.65, 24, 0.25),
    params=11_202_430,
    macs=1_612_076_160,
    reference="torchvision:regnet_y_1_6gf",
)
regnet_y_3_2gf = _y(
    build=_on_line(21, 80, 42.63, 2.66, 24, 0.25),
    params=19_436_338,
    macs=3_176_482_752,
    reference="torchvision:regnet_y_3_2gf",
)
regnet_y_8gf = _y(
    build=_on_line(17, 192, 76.82, 2.19, 56, 0.25),
    params=39_381_472,
    macs=8_473_070_592,
    reference="torchvision:regnet_y_8gf",
)
regnet_y_16gf = _y(
    build=_on_line(18, 200, 106.23, 2.48, 112, 0.25),
    params=83_590_140,
    macs=15_911_510_272,
    reference="torchvision:regnet_y_16gf",
)
regnet_y_32gf = _y(
    build=_on_line(20, 232, 115.89, 2.53, 232, 0.25),
    params=145_046_770,
    macs=32_279_552_832,
    reference="torchvision:regnet_y_32gf",
)

# Their names in timm, which rounds the widths of three of them otherwise unless the name ends in tv.
regnetx_004_tv, regnetx_008, regnetx_016, regnetx_032 = regnet_x_400mf, regnet_x_800mf, regnet_x_1_6gf, regnet_x_3_2gf
regnetx_080, regnetx_160, regnetx_320 = regnet_x_8gf, regnet_x_16gf, regnet_x_32gf
regnety_004, regnety_008_tv, regnety_016, regnety_032 = regnet_y_400mf, regnet_y_800mf, regnet_y_1_6gf, regnet_y_3_2gf
regnety_080_tv, regnety_160, regnety_320 = regnet_y_8gf, regnet_y_16gf, regnet_y_32gf
