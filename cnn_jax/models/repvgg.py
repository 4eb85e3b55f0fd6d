"""RepVGG (Ding et al. 2021, arXiv:2101.03697): three branches in training, merged into one convolution after it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant


class BranchedBlock(nn.Module):
    """act(norm(conv3x3(x)) + norm(conv1x1(x)) + norm(x)), the last where the shape stays (figure 2b)."""

    features: int
    strides: int
    groups: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        large = self.conv(self.features, (3, 3), self.strides, groups=self.groups, use_bias=False, name="conv3")(x)
        small = self.conv(self.features, (1, 1), self.strides, groups=self.groups, use_bias=False, name="conv1")(x)
        y = self.norm(name="norm3")(large, train=train) + self.norm(name="norm1")(small, train=train)
        if self.strides == 1 and x.shape[-1] == self.features:
            y += self.norm(name="norm0")(x, train=train)
        return self.act(y)


class PlainBlock(nn.Module):
    """act(conv3x3(x)) with a bias (figure 2c)."""

    features: int
    strides: int
    groups: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.act(self.conv(self.features, (3, 3), self.strides, groups=self.groups, name="conv3")(x))


class RepVGG(nn.Module):
    """[B, H, W, C] -> logits; stage i has `blocks[i]` blocks of `widths[i]` channels, the first of stride 2.

    Every second block of a stage has `groups`. With block=PlainBlock it takes the variables that `reparameterised`
    returns.
    """

    classes: int | None
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    stem: int = 64
    groups: int = 1
    block: Layer = BranchedBlock
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="RepVGG")
        block = partial(
            self.block,
            conv=partial(self.conv, dtype=self.dtype),
            norm=partial(self.norm, dtype=self.dtype),
            act=self.act,
        )
        features = {"stem": (x := block(self.stem, 2, 1, name="stem")(x, train=train))}
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), 1):
            for i in range(count):
                strides, groups = 2 if i == 0 else 1, self.groups if i % 2 else 1
                x = block(width, strides, groups, name=f"stage{stage}_block{i + 1}")(x, train=train)
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


def reparameterised(variables: Mapping[str, Any], *, epsilon: float = 1e-5) -> dict[str, Any]:
    """The variables of the same network with block=PlainBlock, equal in evaluation (section 3.3).

    Args:
      variables: of a RepVGG of BranchedBlocks with BatchNorm: "params" and "batch_stats".
      epsilon: that of its BatchNorm.
    """
    params, stats = variables["params"], variables["batch_stats"]
    return {
        "params": {
            name: {"conv3": _merged(module, stats[name], epsilon)} if name in stats else module
            for name, module in params.items()
        }
    }


def _merged(block: Mapping[str, Any], stats: Mapping[str, Any], epsilon: float) -> dict[str, jax.Array]:
    """One kernel and bias for the branches of a block: each norm scales its branch's kernel; then all are added."""
    kernels = {
        "norm3": block["conv3"]["kernel"],
        "norm1": jnp.pad(block["conv1"]["kernel"], ((1, 1), (1, 1), (0, 0), (0, 0))),
    }
    if "norm0" in block:  # the identity, as the 3x3 kernel that takes each channel of a group from its middle
        _, _, inside, features = block["conv3"]["kernel"].shape
        channel = jnp.arange(features)
        kernels["norm0"] = jnp.zeros((3, 3, inside, features)).at[1, 1, channel % inside, channel].set(1)
    kernel, bias = jnp.zeros(()), jnp.zeros(())
    for name, branch in kernels.items():
        scale = block[name]["scale"] * jax.lax.rsqrt(stats[name]["var"] + epsilon)
        kernel += branch * scale
        bias += block[name]["bias"] - stats[name]["mean"] * scale
    return {"kernel": kernel, "bias": bias}


_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Ding et al. 2021, arXiv:2101.03697, tables 2 to 4"
)
_a = partial(RepVGG, blocks=(2, 4, 14, 1))
_b = partial(RepVGG, blocks=(4, 6, 16, 1))

repvgg_a0 = _imagenet(
    build=partial(_a, widths=(48, 96, 192, 1280), stem=48),
    params=9_108_968,
    macs=1_512_581_120,
    reference="timm:repvgg_a0",
)
repvgg_a1 = _imagenet(
    build=partial(_a, widths=(64, 128, 256, 1280)), params=14_092_264, macs=2_626_488_320, reference="timm:repvgg_a1"
)
repvgg_a2 = _imagenet(
    build=partial(_a, widths=(96, 192, 384, 1408)), params=28_210_600, macs=5_685_345_280, reference="timm:repvgg_a2"
)
repvgg_b0 = _imagenet(
    build=partial(_b, widths=(64, 128, 256, 1280)), params=15_817_960, macs=3_397_191_680, reference="timm:repvgg_b0"
)
repvgg_b1 = _imagenet(
    build=partial(_b, widths=(128, 256, 512, 2048)), params=57_415_016, macs=13_128_089_600, reference="timm:repvgg_b1"
)
repvgg_b1g4 = _imagenet(
    build=partial(_b, widths=(128, 256, 512, 2048), groups=4),
    params=39_966_056,
    macs=8_118_517_760,
    reference="timm:repvgg_b1g4",
)
repvgg_b2 = _imagenet(
    build=partial(_b, widths=(160, 320, 640, 2560)), params=89_022_376, macs=20_418_170_880, reference="timm:repvgg_b2"
)
repvgg_b2g4 = _imagenet(
    build=partial(_b, widths=(160, 320, 640, 2560), groups=4),
    params=61_758_376,
    macs=12_590_714_880,
    reference="timm:repvgg_b2g4",
)
repvgg_b3 = _imagenet(
    build=partial(_b, widths=(192, 384, 768, 2560)), params=123_085_288, macs=29_120_696_320, reference="timm:repvgg_b3"
)
repvgg_b3g4 = _imagenet(
    build=partial(_b, widths=(192, 384, 768, 2560), groups=4),
    params=83_825_128,
    macs=17_849_159_680,
    reference="timm:repvgg_b3g4",
)
