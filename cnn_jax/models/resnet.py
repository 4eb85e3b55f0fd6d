"""Residual networks (He, Zhang, Ren & Sun 2015, arXiv:1512.03385): blocks, stems, and the ImageNet variants."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.attention import SqueezeExcite
from cnn_jax.models.drop import DropPath
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool
from cnn_jax.models.output_stride import dilated, stride_between
from cnn_jax.models.variant import Variant
from cnn_jax.ops.blur_pool import blur_pool, max_blur_pool
from cnn_jax.ops.pooling import max_pool

Shortcut = Callable[..., jax.Array]  # (x, channels, strides, conv=, norm=, train=) -> x brought to the block's output
Downsample = Callable[[jax.Array, int], jax.Array]  # (x, strides) -> x of 1 / strides of the size


def projection(x: jax.Array, channels: int, strides: int, *, conv: Layer, norm: Layer, train: bool) -> jax.Array:
    """Option B (section 3.3): a strided 1x1 convolution where the shape changes, the identity elsewhere."""
    if strides == 1 and x.shape[-1] == channels:
        return x
    return norm(name="shortcut_norm")(conv(channels, (1, 1), strides, name="shortcut_conv")(x), train=train)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 5, left).

    downsample: what makes the map smaller, after the first activation; by default the first convolution's stride.
    last_norm: the branch's last normaliser, by default `norm`. branch: what the branch passes through before the sum.
    dilations: of the first convolution of more than one tap, which has the stride, and of those behind it.
    """

    features: int
    strides: int
    shortcut: Shortcut
    conv: Layer
    norm: Layer
    act: Activation
    downsample: Downsample | None = None
    last_norm: Layer | None = None
    branch: Activation | None = None
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        before, after = self.dilations
        strides = 1 if self.downsample else self.strides
        y = self.conv(self.features, (3, 3), strides, dilation=before, name="conv1")(x)
        y = self.act(self.norm(name="norm1")(y, train=train))
        y = self.downsample(y, self.strides) if self.downsample else y
        y = self.conv(self.features, (3, 3), dilation=after, name="conv2")(y)
        y = (self.last_norm or self.norm)(name="norm2")(y, train=train)
        y = self.branch(y) if self.branch else y
        return self.act(y + self.shortcut(x, y.shape[-1], self.strides, conv=self.conv, norm=self.norm, train=train))


class Bottleneck(nn.Module):
    """1x1, 3x3, and 1x1 convolution to 4 x `features` (figure 5, right); further fields as those of BasicBlock.

    The stride is on the 3x3 convolution, as in all weights published since 2016 ("ResNet V1.5"), not on the first one.
    groups: of the 3x3 convolution (Xie et al. 2017, arXiv:1611.05431, figure 3c). width: of each group, for 64
    features; it grows with them.
    """

    features: int
    strides: int
    shortcut: Shortcut
    conv: Layer
    norm: Layer
    act: Activation
    groups: int = 1
    width: int = 64
    downsample: Downsample | None = None
    last_norm: Layer | None = None
    branch: Activation | None = None
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        inner = self.features * self.width // 64 * self.groups
        y = self.act(self.norm(name="norm1")(self.conv(inner, (1, 1), name="conv1")(x), train=train))
        strides = 1 if self.downsample else self.strides
        y = self.conv(inner, (3, 3), strides, dilation=self.dilations[0], groups=self.groups, name="conv2")(y)
        y = self.act(self.norm(name="norm2")(y, train=train))
        y = self.downsample(y, self.strides) if self.downsample else y
        y = self.conv(4 * self.features, (1, 1), name="conv3")(y)
        y = (self.last_norm or self.norm)(name="norm3")(y, train=train)
        y = self.branch(y) if self.branch else y
        return self.act(y + self.shortcut(x, y.shape[-1], self.strides, conv=self.conv, norm=self.norm, train=train))


stem_pool = partial(max_pool, window=3, strides=2, padding=1)


def imagenet_stem(
    x: jax.Array,
    features: int,
    *,
    conv: Layer,
    norm: Layer,
    act: Activation,
    train: bool,
    pool: Callable[[jax.Array], jax.Array] = stem_pool,
    seen: Callable[[jax.Array], None] | None = None,
) -> jax.Array:
    """7x7 convolution and 3x3 max pooling, both of stride 2 (table 1). seen: is called with the map between them."""
    x = act(norm(name="stem_norm")(conv(features, (7, 7), 2, name="stem_conv")(x), train=train))
    if seen:
        seen(x)
    return pool(x)


def small_image_stem(
    x: jax.Array, features: int, *, conv: Layer, norm: Layer, act: Activation, train: bool
) -> jax.Array:
    """3x3 convolution of stride 1 (section 4.2)."""
    return act(norm(name="stem_norm")(conv(features, (3, 3), name="stem_conv")(x), train=train))


def weigh_and_drop(y: jax.Array, *, attention: Layer | None, drop: Layer, train: bool) -> jax.Array:
    """The end of a residual branch: attention (Hu et al. 2018, arXiv:1709.01507, figure 3), then stochastic depth."""
    y = attention(name="attention")(y) if attention else y
    return drop(name="drop")(y, train=train)


class ResNet(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i]` blocks of width `features` x 2^i and halves the size if i > 0.

    downsample: what halves the size instead of a strided convolution, e.g. `blur_pool`.
    attention: at the end of each residual branch, e.g. `SqueezeExcite`.
    drop_path: rate of stochastic depth in the last block; it grows from 0 in the first (Huang et al. 2016,
    arXiv:1603.09382, equation 4). drop: what is dropped at these rates instead of whole branches, e.g. `DropBlock`.
    zero_init: each branch starts as zero (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    output_stride: the largest stride of a map, 8, 16 or 32 (`output_stride.dilated`). Where a stride goes, `downsample`
    has strides 1, and shortcuts and poolings are not dilated, as in timm's networks.
    inner: whether there is a feature "unpooled", the map of stride 2 before the pooling of an ImageNet stem.
    Raises ValueError where `inner` is asked of a stem that cannot name that map.
    """

    classes: int | None
    blocks: tuple[int, ...]
    features: int = 64
    block: Layer = BasicBlock
    shortcut: Shortcut = projection
    stem: Callable[..., jax.Array] = imagenet_stem
    downsample: Downsample | None = None
    attention: Layer | None = None
    drop_path: float = 0.0
    drop: Layer = DropPath
    zero_init: bool = False
    output_stride: int = 32
    inner: bool = False
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        last_norm = partial(norm, scale_init=nn.initializers.zeros) if self.zero_init else norm
        attention = partial(self.attention, dtype=self.dtype) if self.attention else None
        unpooled: list[jax.Array] = []
        stem = self.stem
        if self.inner:
            if "seen" not in inspect.signature(stem).parameters:
                raise ValueError(
                    "inner=True is for imagenet_stem, whose map before its pooling it names; the stem of this model "
                    "has none, so leave `inner` out: the feature 'stem' is its largest map"
                )
            stem = partial(stem, seen=unpooled.append)
        image, x = x, stem(x, self.features, conv=conv, norm=norm, act=self.act, train=train)
        features = dict(zip(["unpooled"], unpooled, strict=False)) | {"stem": x}
        strides = [stride_between(image, x), 1, *[2] * (len(self.blocks) - 1)]
        _, *samplings = dilated(strides, self.output_stride)
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                sampling = samplings[stage].of_block(i)
                depth = (sum(self.blocks[:stage]) + i) / max(sum(self.blocks) - 1, 1)
                x = self.block(
                    features=self.features * 2**stage,
                    strides=sampling.strides,
                    shortcut=self.shortcut,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    downsample=self.downsample if stage > 0 and i == 0 else None,
                    last_norm=last_norm,
                    branch=partial(
                        weigh_and_drop,
                        attention=attention,
                        drop=partial(self.drop, self.drop_path * depth),
                        train=train,
                    ),
                    dilations=(sampling.before, sampling.after),
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage + 1}"] = x
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


TABLE_1 = "He et al. 2015, arXiv:1512.03385, table 1"
_imagenet = partial(Variant, input_shape=(224, 224, 3), classes=1000)
_table_1 = partial(_imagenet, source=TABLE_1)
_50 = partial(ResNet, blocks=(3, 4, 6, 3), block=Bottleneck)

resnet18 = _table_1(
    build=partial(ResNet, blocks=(2, 2, 2, 2)),
    params=11_689_512,
    macs=1_814_073_344,
    reference="torchvision:resnet18",
)
resnet34 = _table_1(
    build=partial(ResNet, blocks=(3, 4, 6, 3)),
    params=21_797_672,
    macs=3_663_761_408,
    reference="torchvision:resnet34",
)
resnet50 = _table_1(build=_50, params=25_557_032, macs=4_089_184_256, reference="torchvision:resnet50")
resnet101 = _table_1(
    build=partial(ResNet, blocks=(3, 4, 23, 3), block=Bottleneck),
    params=44_549_160,
    macs=7_801_405_440,
    reference="torchvision:resnet101",
)
resnet152 = _table_1(
    build=partial(ResNet, blocks=(3, 8, 36, 3), block=Bottleneck),
    params=60_192_808,
    macs=11_513_626_624,
    reference="torchvision:resnet152",
)
resnet18_small = Variant(
    build=partial(ResNet, blocks=(2, 2, 2, 2), stem=small_image_stem),
    input_shape=(32, 32, 3),
    classes=10,
    params=11_173_962,
    macs=555_422_720,
    source=f"{TABLE_1}, with the stem of section 4.2",
)
wide_resnet50_2 = _imagenet(
    build=partial(_50, block=partial(Bottleneck, width=128)),
    params=68_883_240,
    macs=11_398_021_120,
    source="Zagoruyko & Komodakis 2016, arXiv:1605.07146, table 8",
    reference="torchvision:wide_resnet50_2",
)
resnext50_32x4d = _imagenet(
    build=partial(_50, block=partial(Bottleneck, groups=32, width=4)),
    params=25_028_904,
    macs=4_230_479_872,
    source="Xie et al. 2017, arXiv:1611.05431, table 1",
    reference="torchvision:resnext50_32x4d",
)
seresnet50 = _imagenet(
    build=partial(_50, attention=SqueezeExcite),
    params=28_088_024,
    macs=4_091_699_200,
    source="Hu et al. 2018, arXiv:1709.01507, table 1",
    reference="timm:seresnet50",
)
resnetblur50 = _imagenet(
    build=partial(_50, stem=partial(imagenet_stem, pool=max_blur_pool), downsample=blur_pool),
    params=25_557_032,
    macs=5_129_633_792,
    source="Zhang 2019, arXiv:1904.11486, section 4.2",
    reference="timm:resnetblur50",
)
