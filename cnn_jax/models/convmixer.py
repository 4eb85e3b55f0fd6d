"""ConvMixer (Trockman & Kolter 2022, arXiv:2201.09792): patches, then depthwise and pointwise convolutions in turn."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant

# Activations come before the norms here, so the scale of the kernels matters; it is the authors', PyTorch's default.
torch_default = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class MixerBlock(nn.Module):
    """x + norm(act(depthwise(x))), then norm(act(pointwise(x))) (equations 2 and 3)."""

    kernel: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        y = self.conv(channels, (self.kernel, self.kernel), groups=channels, name="depthwise")(x)
        x = x + self.norm(name="norm1")(self.act(y), train=train)
        return self.norm(name="norm2")(self.act(self.conv(channels, (1, 1), name="pointwise")(x)), train=train)


class ConvMixer(nn.Module):
    """[B, H, W, C] -> logits; `depth` blocks of `width` channels at one resolution, H / `patch` x W / `patch`.

    Raises ValueError for an input smaller than a patch.
    """

    classes: int | None
    width: int
    depth: int
    kernel: int
    patch: int = 7
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = partial(nn.gelu, approximate=False)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=self.patch, model="ConvMixer")
        conv = partial(self.conv, kernel_init=torch_default, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = conv(self.width, (self.patch, self.patch), self.patch, padding=0, name="stem_conv")(x)
        features = {"stem": (x := norm(name="stem_norm")(self.act(x), train=train))}
        for i in range(self.depth):
            x = MixerBlock(self.kernel, conv=conv, norm=norm, act=self.act, name=f"block{i + 1}")(x, train=train)
        features["stage1"] = x
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Trockman & Kolter 2022, arXiv:2201.09792, table 1"
)

convmixer_768_32 = _imagenet(
    build=partial(ConvMixer, width=768, depth=32, kernel=7, act=nn.relu),
    params=21_110_248,
    macs=20_676_851_712,
    reference="timm:convmixer_768_32",
)
convmixer_1024_20 = _imagenet(
    build=partial(ConvMixer, width=1024, depth=20, kernel=9, patch=14),
    params=24_383_464,
    macs=5_948_547_072,
    reference="timm:convmixer_1024_20_ks9_p14",
)
convmixer_1536_20 = _imagenet(
    build=partial(ConvMixer, width=1536, depth=20, kernel=9),
    params=51_625_960,
    macs=51_099_168_768,
    reference="timm:convmixer_1536_20",
)

convmixer_1024_20_ks9_p14 = convmixer_1024_20  # its name in timm
