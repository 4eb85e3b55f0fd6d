"""What stands between a backbone and a detector's heads: maps of several strides, each with what the others know.

A neck reads the maps that it is given, finest first, and returns as many of one width, and further ones above them.
`at_strides` picks them from the features of any backbone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.heads import Features
from cnn_jax.models.layers import Activation, Conv, Layer
from cnn_jax.models.output_stride import stride_between

Maps = Sequence[jax.Array]  # [B, H, W, C] each, finest first
Top = Callable[..., list[jax.Array]]  # (pyramid, maps, conv=) -> levels above the pyramid, made of it or of its input

uniform = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")  # torchvision's, for all layers of its pyramids


def by_stride(features: Features, image: jax.Array) -> dict[int, jax.Array]:
    """The deepest map of each stride among a backbone's features of `image` [B, H, W, C]."""
    return {stride_between(image, x): x for x in features.values() if x.ndim == image.ndim}


def at_strides(features: Features, image: jax.Array, strides: Sequence[int]) -> list[jax.Array]:
    """Those of `strides`. Raises ValueError where there is none."""
    found = by_stride(features, image)
    if missing := [str(stride) for stride in strides if stride not in found]:
        has = ", ".join(map(str, sorted(found)))
        raise ValueError(f"the backbone has no map of stride {', '.join(missing)}: it has maps of strides {has}")
    return [found[stride] for stride in strides]


def nearest(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, h, w, C] -> [B, *size, C]: each pixel is that of x in whose place its corner lies, as in PyTorch's "nearest".

    13 rows become 25 too, which twice as many would not.
    """
    for axis, count in enumerate(size, 1):
        length = x.shape[axis]
        if count % length == 0:  # each is repeated; its gradient is a sum and not a scatter
            x = jnp.repeat(x, count // length, axis)
        else:  # the quotient in float32, as PyTorch computes it
            places = np.floor(np.arange(count, dtype=np.float32) * np.float32(length / count)).astype(int)
            x = jnp.take(x, np.minimum(places, length - 1), axis)
    return x


def pooled(pyramid: Maps, maps: Maps, *, conv: Layer) -> list[jax.Array]:
    """One level above the pyramid: every second pixel of its last one (Lin et al. 2017, section 4.1)."""
    del maps, conv
    return [pyramid[-1][:, ::2, ::2]]


def strided(pyramid: Maps, maps: Maps, *, conv: Layer, of_input: bool = False) -> list[jax.Array]:
    """P6 and P7 by 3x3 convolutions of stride 2 (Lin et al. 2017, arXiv:1708.02002, section 4, footnote 2).

    of_input: of the last map that the neck reads, as in the paper, and not of the last one of the pyramid.
    """
    source = maps[-1] if of_input else pyramid[-1]
    features = pyramid[-1].shape[-1]
    p6 = conv(features, (3, 3), 2, name="p6")(source)
    return [p6, conv(features, (3, 3), 2, name="p7")(nn.relu(p6))]


class FPN(nn.Module):
    """Feature pyramid network (Lin et al. 2017, arXiv:1612.03144, section 3): what deep maps know, in fine maps too.

    Level i is a 3x3 convolution of the 1x1 convolution of map i plus the level above, enlarged to its size.

    features: channels of all levels. top: further levels, `pooled` or `strided`. norm: behind each convolution of the
    pyramid, which has no bias then; not behind those of `top`. finest: how many levels are made, the finest ones; all
    by default.
    """

    features: int = 256
    top: Top | None = None
    norm: Layer | None = None
    finest: int | None = None
    conv: Layer = Conv
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> list[jax.Array]:
        conv = partial(self.conv, kernel_init=uniform, dtype=self.dtype)

        def normed(x: jax.Array, window: int, name: str) -> jax.Array:
            x = conv(self.features, (window, window), use_bias=self.norm is None, name=name)(x)
            return self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train) if self.norm else x

        pyramid: list[jax.Array] = []
        above = None
        for i, x in reversed(list(enumerate(maps, 1))):
            x = normed(x, 1, f"inner{i}")
            above = x if above is None else x + nearest(above, (x.shape[1], x.shape[2]))
            if self.finest is None or i <= self.finest:
                pyramid.insert(0, normed(above, 3, f"layer{i}"))
        return pyramid + (self.top(pyramid, maps, conv=conv) if self.top else [])


class PAN(nn.Module):
    """Path aggregation (Liu et al. 2018, arXiv:1803.01534, section 3.1): an FPN, then the way up again.

    Level i + 1 is a 3x3 convolution of that level of the pyramid plus level i, made smaller by another one; both are
    activated. Fields are those of the FPN; `top` stands on the last level here, and `norm` is behind all but its own.
    """

    features: int = 256
    top: Top | None = None
    norm: Layer | None = None
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> list[jax.Array]:
        conv = partial(self.conv, kernel_init=uniform, dtype=self.dtype)
        fpn = FPN(self.features, norm=self.norm, conv=self.conv, dtype=self.dtype, name="fpn")

        def normed(x: jax.Array, strides: int, name: str) -> jax.Array:
            x = conv(self.features, (3, 3), strides, use_bias=self.norm is None, name=name)(x)
            return self.act(self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train) if self.norm else x)

        first, *rest = fpn(maps, train=train)
        levels = [first]
        for i, x in enumerate(rest, 1):
            smaller = nearest(normed(levels[-1], 2, f"down{i}"), (x.shape[1], x.shape[2]))
            levels.append(normed(x + smaller, 1, f"level{i + 1}"))
        return levels + (self.top(levels, maps, conv=conv) if self.top else [])
