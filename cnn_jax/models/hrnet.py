"""High-resolution networks (Wang et al. 2020, arXiv:1908.07919): parallel branches of strides 4 to 32 that exchange."""

from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool
from cnn_jax.models.resnet import BasicBlock, Bottleneck, projection
from cnn_jax.models.variant import Variant


def enlarge(x: jax.Array, factor: int, like: jax.Array) -> jax.Array:
    """Every position `factor` times along H and W (nearest neighbour), cropped to the size of `like`.

    A map of twice the stride is rounded up in size, so that factor x size is up to factor - 1 positions too many.
    """
    height, width = like.shape[1:3]
    return x.repeat(factor, axis=1).repeat(factor, axis=2)[:, :height, :width]


def resampled(
    x: jax.Array, like: jax.Array, halvings: int, *, name: str, conv: Layer, norm: Layer, act: Activation, train: bool
) -> jax.Array:
    """x brought to the size and width of `like`, whose stride is 2^`halvings` that of x (section 3.2).

    Downwards by 3x3 convolutions of stride 2, of which only the last changes the width and is not activated; upwards
    by a 1x1 convolution and nearest neighbour.
    """
    width = like.shape[-1]
    if halvings < 0:
        x = norm(name=f"{name}_norm1")(conv(width, (1, 1), name=f"{name}_conv1")(x), train=train)
        return enlarge(x, 2**-halvings, like)
    for i in range(1, halvings + 1):
        x = conv(width if i == halvings else x.shape[-1], (3, 3), 2, name=f"{name}_conv{i}")(x)
        x = norm(name=f"{name}_norm{i}")(x, train=train)
        x = x if i == halvings else act(x)
    return x


class Exchange(nn.Module):
    """`blocks` residual blocks on each branch, then each branch becomes the activated sum of all (section 3.2).

    Reads and returns one map [B, H / 2^i, W / 2^i, C_i] for each branch i.
    """

    blocks: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, maps: list[jax.Array], *, train: bool) -> list[jax.Array]:
        block = partial(BasicBlock, strides=1, shortcut=projection, conv=self.conv, norm=self.norm, act=self.act)
        branches = []
        for i, x in enumerate(maps, 1):
            for j in range(1, self.blocks + 1):
                x = block(features=x.shape[-1], name=f"branch{i}_block{j}")(x, train=train)
            branches.append(x)

        bring = partial(resampled, conv=self.conv, norm=self.norm, act=self.act, train=train)
        outputs = []
        for i, like in enumerate(branches):
            terms = [bring(x, like, i - j, name=f"from{j + 1}_to{i + 1}") for j, x in enumerate(branches)]
            outputs.append(self.act(reduce(jnp.add, terms)))
        return outputs


class HRNet(nn.Module):
    """[B, H, W, C] -> logits (section 3.4), with the classification head of "HRNet-W-C".

    Stage 1 is `blocks[0]` bottlenecks at stride 4. Stage s > 1 has s branches, branch i being `width` x 2^(i - 1) wide
    with stride 2^(i + 1), and makes `exchanges[s - 2]` exchanges after `blocks[s - 1]` blocks each. The features
    "branch1" to "branch4" are what stage 4 ends with, "head" their sum at stride 32, made for the classifier only.
    """

    classes: int | None
    width: int
    blocks: tuple[int, int, int, int] = (4, 4, 4, 4)
    exchanges: tuple[int, int, int] = (1, 4, 3)
    stage1_width: int = 64
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        bottleneck = partial(Bottleneck, strides=1, shortcut=projection, conv=conv, norm=norm, act=self.act)

        def unit(x: jax.Array, width: int, strides: int, name: str, kernel: int = 3, bias: bool = False) -> jax.Array:
            x = conv(width, (kernel, kernel), strides, use_bias=bias, name=f"{name}_conv")(x)
            return self.act(norm(name=f"{name}_norm")(x, train=train))

        features = {"stem": (x := unit(unit(x, 64, 2, "stem1"), 64, 2, "stem2"))}
        for i in range(self.blocks[0]):
            x = bottleneck(features=self.stage1_width, name=f"stage1_block{i + 1}")(x, train=train)
        features["stage1"] = x

        maps = [unit(x, self.width, 1, "transition1_branch1")]
        for stage in (2, 3, 4):
            smallest = x if stage == 2 else maps[-1]
            name = f"transition{stage - 1}_branch{stage}"
            maps = [*maps, unit(smallest, self.width * 2 ** (stage - 1), 2, name)]
            for i in range(self.exchanges[stage - 2]):
                exchange = Exchange(self.blocks[stage - 1], conv, norm, self.act, name=f"stage{stage}_exchange{i + 1}")
                maps = exchange(maps, train=train)
        features |= {f"branch{i}": x for i, x in enumerate(maps, 1)}
        if self.classes is None:
            return features

        wider = [bottleneck(features=16 * 2**i, name=f"head_branch{i}")(x, train=train) for i, x in enumerate(maps, 1)]
        x = wider[0]
        for i, larger in enumerate(wider[1:], 1):
            x = larger + unit(x, larger.shape[-1], 2, f"head_down{i}", bias=True)
        features["head"] = x = unit(x, 2048, 1, "head", kernel=1, bias=True)
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_imagenet = partial(
    Variant,
    input_shape=(224, 224, 3),
    classes=1000,
    source="Wang et al. 2020, arXiv:1908.07919, section 3.4, and the classification head of its appendix",
)
_small = partial(_imagenet, source="the authors' HRNet-Image-Classification: W18-C-Small v1 and v2")
hrnet_w18_small = _small(
    build=partial(HRNet, width=16, blocks=(1, 2, 2, 2), exchanges=(1, 1, 1), stage1_width=32),
    params=13_187_464,
    macs=1_601_508_352,
    reference="timm:hrnet_w18_small",
)
hrnet_w18_small_v2 = _small(
    build=partial(HRNet, width=18, blocks=(2, 2, 2, 2), exchanges=(1, 3, 2)),
    params=15_597_464,
    macs=2_595_712_864,
    reference="timm:hrnet_w18_small_v2",
)
hrnet_w18 = _imagenet(build=partial(HRNet, width=18), params=21_299_004, macs=4_283_537_072, reference="timm:hrnet_w18")
hrnet_w32 = _imagenet(build=partial(HRNet, width=32), params=41_232_680, macs=8_921_133_056, reference="timm:hrnet_w32")
