"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545) and ConvNeXt V2 (Woo et al. 2023, arXiv:2301.00808)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.drop import DropPath
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Layer, global_average_pool, require_size, widened
from cnn_jax.models.output_stride import dilated
from cnn_jax.models.variant import Variant


class LayerNorm(nn.Module):
    """Ba et al. 2016, arXiv:1607.06450, over the channels of each position, with BatchNorm's interface."""

    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train  # the statistics are each position's own
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        centred = widened(x)
        centred -= centred.mean(-1, keepdims=True)
        var = jnp.square(centred).mean(-1, keepdims=True)
        return (centred * jax.lax.rsqrt(var + self.epsilon) * scale + bias).astype(self.dtype or x.dtype)


class GlobalResponseNorm(nn.Module):
    """x [B, H, W, C] + scale * (x * n) + bias, n = each channel's norm over positions / mean norm of all channels.

    Woo et al. 2023, arXiv:2301.00808, section 4 and algorithm 1. Both parameters start at zero: the identity.
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        square = jnp.square(widened(x)).sum((1, 2), keepdims=True)
        silent = square == 0.0  # the gradient of the root is infinite there
        norms = jnp.where(silent, 0.0, jnp.sqrt(jnp.where(silent, 1.0, square)))
        response = norms / (norms.mean(-1, keepdims=True) + self.epsilon)
        return (x + (scale * (x * response) + bias)).astype(x.dtype)


class ConvNeXtBlock(nn.Module):
    """x + 7x7 depthwise convolution, norm, 4 x wider, act, back (figure 4), with drop path on the branch.

    V1 multiplies the branch by a learned "gamma" per channel (`layer_scale` is its start, 0 for none); V2 has the
    global response norm after the activation instead (`response_norm`; figure 5 of Woo et al.).
    """

    layer_scale: float
    response_norm: bool
    drop_path: float
    conv: Layer
    pointwise: Layer
    norm: Layer
    act: Activation
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        y = self.conv(channels, (7, 7), dilation=self.dilation, groups=channels, name="depthwise")(x)
        y = self.norm(name="norm")(y, train=train)
        y = self.act(self.pointwise(4 * channels, name="expand")(y))
        if self.response_norm:
            y = GlobalResponseNorm(name="response_norm")(y)
        y = self.pointwise(channels, name="project")(y)
        if self.layer_scale:
            gamma = self.param("gamma", nn.initializers.constant(self.layer_scale), (channels,), jnp.float32)
            y *= gamma.astype(y.dtype)
        return x + DropPath(self.drop_path, name="drop_path")(y, train=train)


class ConvNeXt(nn.Module):
    """[B, H, W, C] -> logits; H and W of at least 32, else ValueError.

    Stage i has `blocks[i]` blocks of `width` x 2^i channels. `conv_mlp` makes the pointwise layers 1x1 convolutions
    instead of Dense layers: the same function, but weights are published as one or the other. The drop-path rate
    grows linearly from 0 at the first block to `drop_path` at the last (the paper trains with 0.1 to 0.5, table 5).
    `output_stride`, 8, 16 or 32, is the largest stride of a map (`output_stride.dilated`).
    """

    classes: int | None
    blocks: tuple[int, int, int, int]
    width: int
    conv_mlp: bool = False
    layer_scale: float = 1e-6
    response_norm: bool = False
    drop_path: float = 0.0
    output_stride: int = 32
    conv: Layer = Conv
    norm: Layer = LayerNorm
    act: Activation = partial(nn.gelu, approximate=False)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=32, model="ConvNeXt")
        init = nn.initializers.normal(0.02)  # the authors' truncation is at 100 standard deviations
        conv = partial(self.conv, kernel_init=init, dtype=self.dtype)
        dense = partial(nn.Dense, kernel_init=init)
        norm = partial(self.norm, dtype=self.dtype)
        unpadded = [(0, 0), (0, 0)]
        x = conv(self.width, (4, 4), 4, padding=unpadded, name="stem_conv")(x)
        features = {"stem": (x := norm(name="stem_norm")(x, train=train))}
        done, last = 0, max(sum(self.blocks) - 1, 1)
        samplings = dilated((4, 2, 2, 2), self.output_stride)
        for stage, (count, sampling) in enumerate(zip(self.blocks, samplings, strict=True)):
            if stage > 0:
                x = norm(name=f"downsample{stage + 1}_norm")(x, train=train)
                # without a stride it reads one position beyond the last to keep the size
                padding = unpadded if sampling.strides > 1 else [(0, sampling.before)] * 2
                x = conv(
                    2 * x.shape[-1],
                    (2, 2),
                    sampling.strides,
                    padding=padding,
                    dilation=sampling.before,
                    name=f"downsample{stage + 1}_conv",
                )(x)
            for i in range(count):
                x = ConvNeXtBlock(
                    layer_scale=self.layer_scale,
                    response_norm=self.response_norm,
                    drop_path=self.drop_path * done / last,
                    conv=conv,
                    pointwise=partial(conv, kernel_size=(1, 1)) if self.conv_mlp else partial(dense, dtype=self.dtype),
                    norm=norm,
                    act=self.act,
                    dilation=sampling.after,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train=train)
                done += 1
            features[f"stage{stage + 1}"] = x
        if self.classes is None:
            return features
        x = self.norm(name="norm")(global_average_pool(x), train=train)
        features["pooled"] = x
        return classified(x, features, self.classes, layer=dense)


_imagenet = partial(Variant, input_shape=(224, 224, 3), classes=1000)
_v1 = partial(_imagenet, source="Liu et al. 2022, arXiv:2201.03545, section 3")
_v2 = partial(_imagenet, source="Woo et al. 2023, arXiv:2301.00808, section 5")
# V1 in these four sizes is timm's, after which V2 was given the same
_v1_in_size_of_v2 = partial(_imagenet, source="blocks of arXiv:2201.03545 in the sizes of arXiv:2301.00808, section 5")
_atto = partial(ConvNeXt, blocks=(2, 2, 6, 2), width=40, conv_mlp=True)
_femto = partial(ConvNeXt, blocks=(2, 2, 6, 2), width=48, conv_mlp=True)
_pico = partial(ConvNeXt, blocks=(2, 2, 6, 2), width=64, conv_mlp=True)
_nano = partial(ConvNeXt, blocks=(2, 2, 8, 2), width=80, conv_mlp=True)
_tiny = partial(ConvNeXt, blocks=(3, 3, 9, 3), width=96)
_small = partial(ConvNeXt, blocks=(3, 3, 27, 3), width=96)
_base = partial(ConvNeXt, blocks=(3, 3, 27, 3), width=128)
_grn = {"layer_scale": 0.0, "response_norm": True}

convnext_atto = _v1_in_size_of_v2(build=_atto, params=3_695_520, macs=547_332_480, reference="timm:convnext_atto")
convnext_femto = _v1_in_size_of_v2(build=_femto, params=5_217_784, macs=779_629_824, reference="timm:convnext_femto")
convnext_pico = _v1_in_size_of_v2(build=_pico, params=9_045_672, macs=1_367_055_360, reference="timm:convnext_pico")
convnext_nano = _v1_in_size_of_v2(build=_nano, params=15_593_560, macs=2_445_528_320, reference="timm:convnext_nano")
convnext_tiny = _v1(build=_tiny, params=28_589_128, macs=4_455_531_264, reference="timm:convnext_tiny")
convnext_small = _v1(build=_small, params=50_223_688, macs=8_683_712_256, reference="timm:convnext_small")
convnext_base = _v1(build=_base, params=88_591_464, macs=15_354_729_472, reference="timm:convnext_base")

convnextv2_atto = _v2(
    build=partial(_atto, **_grn), params=3_708_400, macs=547_332_480, reference="timm:convnextv2_atto"
)
convnextv2_femto = _v2(
    build=partial(_femto, **_grn), params=5_233_240, macs=779_629_824, reference="timm:convnextv2_femto"
)
convnextv2_pico = _v2(
    build=partial(_pico, **_grn), params=9_066_280, macs=1_367_055_360, reference="timm:convnextv2_pico"
)
convnextv2_nano = _v2(
    build=partial(_nano, **_grn), params=15_623_800, macs=2_445_528_320, reference="timm:convnextv2_nano"
)
convnextv2_tiny = _v2(
    build=partial(_tiny, **_grn), params=28_635_496, macs=4_455_531_264, reference="timm:convnextv2_tiny"
)
convnextv2_small = _v2(
    build=partial(_small, **_grn), params=50_318_440, macs=8_683_712_256, reference="timm:convnextv2_small"
)
convnextv2_base = _v2(
    build=partial(_base, **_grn), params=88_717_800, macs=15_354_729_472, reference="timm:convnextv2_base"
)
