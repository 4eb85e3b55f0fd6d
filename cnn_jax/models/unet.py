"""U-Net (Ronneberger, Fischer & Brox 2015, arXiv:1505.04597), as published, and padded and normalised."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, require_size
from cnn_jax.models.segmenter import LOGITS
from cnn_jax.models.variant import Variant
from cnn_jax.ops.convolution import convolution
from cnn_jax.ops.fold import unfolded
from cnn_jax.ops.pooling import max_pool

# Section 3: standard deviation sqrt(2 / N), N the number of inputs of one neuron
he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# of a neuron of UpConv, which sees one of the 2x2 taps
he_one_tap = nn.initializers.variance_scaling(2.0, "fan_in", "normal", batch_axis=(0, 1))


class UpConv(nn.Module):
    """Transposed 2x2 convolution of stride 2, [B, H, W, C] -> [B, 2H, 2W, features]: y[2i + u] = x[i] kernel[u] + bias.

    Its windows do not overlap: a 1x1 convolution makes the four pixels of a window as channels, which then unfold.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        kernel = self.param("kernel", he_one_tap, (2, 2, channels, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolution(x, kernel.transpose(2, 0, 1, 3).reshape(1, 1, channels, -1), padding=0)
        return unfolded(y, 2) + bias


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, the first one of `strides`, each normalised, if there is a norm, and activated."""

    features: int
    conv: Layer
    norm: Layer | None
    act: Activation
    strides: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for i, strides in ((1, self.strides), (2, 1)):
            x = self.conv(self.features, (3, 3), strides, name=f"conv{i}")(x)
            x = self.act(self.norm(name=f"norm{i}")(x, train=train) if self.norm else x)
        return x


class UNet(nn.Module):
    """[B, H, W, C] -> logits [B, H, W, classes] (figure 1), of images of any size.

    Level i of `levels` has `features` x 2^i channels. "stage1", "stage2", ... are the maps on the way down, of stride
    1, 2, ...; "up1" of stride 1 is the last one on the way up.

    norm: behind each convolution, which has a bias where there is none. padded: convolutions see zeros beyond the
    border. The odd row or column of a level is pooled by itself, and cut off again where the way up rejoins that level.
    Otherwise, as in the paper, a convolution makes its map smaller, and the image is mirrored at its borders as far as
    its logits need (figure 2): maps on the way down are larger than the image, and the way up rejoins their middle.
    dropout: rate, behind the last two levels of the way down ("at the end of the contracting path", section 3.1, and
    the authors' network). up: what doubles the size of a map.
    """

    classes: int | None
    features: int = 64
    levels: int = 5
    padded: bool = True
    dropout: float = 0.0
    conv: Layer = Conv
    norm: Layer | None = BatchNorm
    pool: Callable[..., jax.Array] = max_pool
    up: Layer = UpConv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    def loss_weights(self) -> dict[str, float]:
        return {LOGITS: 1.0}

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="UNet")
        size = x.shape[1:3]
        conv = partial(self.conv, kernel_init=he_fan_in, dtype=self.dtype)
        inner = partial(conv, use_bias=self.norm is None, **({} if self.padded else {"padding": 0}))
        norm = partial(self.norm, dtype=self.dtype) if self.norm else None
        double = partial(DoubleConv, conv=inner, norm=norm, act=self.act)
        if not self.padded:
            x = jnp.pad(x, [(0, 0), *(mirrored(length, self.levels) for length in size), (0, 0)], "reflect")
        features: dict[str, jax.Array] = {}
        for level in range(1, self.levels + 1):
            if level > 1:
                x = self.pool(x, 2, ceil_mode=True)
            x = double(self.features * 2 ** (level - 1), name=f"stage{level}")(x, train=train)
            if self.dropout and level >= self.levels - 1:
                x = Dropout(self.dropout, name=f"dropout{level}")(x, train=train)
            features[f"stage{level}"] = x
        for level in range(self.levels - 1, 0, -1):
            width = self.features * 2 ** (level - 1)
            down = features[f"stage{level}"]
            x = self.up(width, dtype=self.dtype, name=f"up{level}_conv")(x)
            x, down = x[:, : down.shape[1], : down.shape[2]], middle(down, x)
            features[f"up{level}"] = x = double(width, name=f"up{level}")(jnp.concatenate([down, x], -1), train=train)
        x = x[:, : size[0], : size[1]]
        return classified(x, features, self.classes, layer=partial(conv, kernel_size=(1, 1), dtype=None))


def mirrored(length: int, levels: int) -> tuple[int, int]:
    """By how many pixels (before, after) an image of `length` is mirrored, for unpadded convolutions.

    Of n pixels at the bottom, the way up makes s n - 4 (s - 1), s = 2^(levels - 1), and the way down needs
    s (n + 4) + 4 (s - 1): 12 s - 8 more (184 of figure 1). n is the least for logits of `length`.
    """
    s = 2 ** (levels - 1)
    bottom = -(-(length + 4 * (s - 1)) // s)
    return 6 * s - 4, s * (bottom + 4) + 4 * (s - 1) - length - (6 * s - 4)


def middle(x: jax.Array, like: jax.Array) -> jax.Array:
    """x [B, H, W, C] cut evenly on all sides to the height and width of `like`, where it is larger."""
    high, wide = (max(a - b, 0) // 2 for a, b in zip(x.shape[1:3], like.shape[1:3], strict=True))
    return x[:, high : high + like.shape[1], wide : wide + like.shape[2]]


unet = Variant(
    build=partial(UNet),
    input_shape=(256, 256, 3),
    classes=2,
    params=31_037_698,
    macs=48_171_581_440,
    source="Ronneberger et al. 2015, arXiv:1505.04597, figure 1, padded and with BatchNorm (Ioffe & Szegedy 2015)",
)
unet_small = Variant(
    build=partial(UNet, features=16),
    input_shape=(64, 64, 1),
    classes=11,
    params=1_942_459,
    macs=189_005_824,
    source="the same with a quarter of the channels",
)
unet_original = Variant(
    build=partial(UNet, padded=False, norm=None, dropout=0.5),
    input_shape=(388, 388, 1),
    classes=2,
    params=31_030_658,
    macs=150_428_424_448,
    source="Ronneberger et al. 2015, arXiv:1505.04597, figure 1",
)
