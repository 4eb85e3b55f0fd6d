"""VGG (Simonyan & Zisserman 2014, arXiv:1409.1556): 3x3 convolutions, and the same with batch normalisation.

The 7x7 map that the dense layers read is pooled to that size from any other.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import adaptive_avg_pool, max_pool

WIDTHS = (64, 128, 256, 512, 512)
normal = nn.initializers.normal(0.01)  # of the dense layers (section 3.1)


class VGG(nn.Module):
    """[B, H, W, C] with H, W >= 32 -> logits; stage i has `blocks[i]` convolutions and then a 2x2 max pooling.

    Features are the maps before each pooling, of stride 1, 2, 4, 8 and 16. Convolutions are numbered through all
    stages, as the paper counts its layers. With `norm` there is one after each, and still a bias before it.
    ceil: stages whose pooling keeps an odd row or column (SSD has it behind the third, 75 -> 38).
    """

    classes: int | None
    blocks: tuple[int, ...]
    ceil: tuple[int, ...] = ()
    hidden: int = 4096
    dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer | None = None
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=32, model="VGG")
        conv = partial(self.conv, dtype=self.dtype)
        norm = self.norm and partial(self.norm, dtype=self.dtype)
        features, number = {}, 0
        for stage, (width, count) in enumerate(zip(WIDTHS, self.blocks, strict=True), 1):
            for _ in range(count):
                number += 1
                name = f"stage{stage}_conv{number}"
                if norm is None:
                    x = self.act(conv(width, (3, 3), name=name)(x))
                else:
                    x = ConvNorm(width, (3, 3), conv, norm, self.act, name=name)(x, train=train)
            features[f"stage{stage}"] = x
            x = max_pool(x, 2, ceil_mode=stage in self.ceil)
        if self.classes is None:
            return features
        x = adaptive_avg_pool(x, 7).reshape(len(x), -1)
        for i in (1, 2):
            x = self.act(nn.Dense(self.hidden, kernel_init=normal, dtype=self.dtype, name=f"fc{i}")(x))
            features["pooled"] = x  # the second one stays
            x = Dropout(self.dropout, name=f"dropout{i}")(x, train=train)
        return classified(x, features, self.classes, kernel_init=normal)


_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Simonyan & Zisserman 2014, arXiv:1409.1556, table 1"
)
# the columns of table 1
_a = partial(VGG, blocks=(1, 1, 2, 2, 2))
_b = partial(VGG, blocks=(2, 2, 2, 2, 2))
_d = partial(VGG, blocks=(2, 2, 3, 3, 3))
_e = partial(VGG, blocks=(2, 2, 4, 4, 4))

vgg11 = _imagenet(build=_a, params=132_863_336, macs=7_609_090_048, reference="torchvision:vgg11")
vgg13 = _imagenet(build=_b, params=133_047_848, macs=11_308_466_176, reference="torchvision:vgg13")
vgg16 = _imagenet(build=_d, params=138_357_544, macs=15_470_264_320, reference="torchvision:vgg16")
vgg19 = _imagenet(build=_e, params=143_667_240, macs=19_632_062_464, reference="torchvision:vgg19")
vgg11_bn = _imagenet(
    build=partial(_a, norm=BatchNorm), params=132_868_840, macs=7_609_090_048, reference="torchvision:vgg11_bn"
)
vgg13_bn = _imagenet(
    build=partial(_b, norm=BatchNorm), params=133_053_736, macs=11_308_466_176, reference="torchvision:vgg13_bn"
)
vgg16_bn = _imagenet(
    build=partial(_d, norm=BatchNorm), params=138_365_992, macs=15_470_264_320, reference="torchvision:vgg16_bn"
)
vgg19_bn = _imagenet(
    build=partial(_e, norm=BatchNorm), params=143_678_248, macs=19_632_062_464, reference="torchvision:vgg19_bn"
)
