"""SqueezeNet (Iandola et al. 2016, arXiv:1602.07360): fire modules, and a convolution as the classifier."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, class_maps, classified
from cnn_jax.models.layers import Activation, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool


class Fire(nn.Module):
    """1x1 convolution to `squeezed` channels, then 4 x as many from a 1x1 and as many from a 3x3 one (figure 1)."""

    squeezed: int
    conv: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.act(self.conv(self.squeezed, (1, 1), name="squeeze")(x))
        expanded = [self.conv(4 * self.squeezed, (k, k), name=f"expand{k}x{k}")(x) for k in (1, 3)]
        return self.act(jnp.concatenate(expanded, -1))


class SqueezeNet(nn.Module):
    """[B, H, W, C] with H, W >= 14 + kernel -> logits; stage i is a max pooling and `blocks[i]` fire modules.

    Poolings cover their last row and column even where the window sticks out. Fire modules are numbered from 2, as
    in the paper's table 1; every second one is wider than those before. The class maps pass through `act` before
    they are averaged, so with relu no logit is negative.
    """

    classes: int | None
    features: int
    kernel: int
    blocks: tuple[int, ...]
    dropout: float = 0.5
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=14 + self.kernel, model="SqueezeNet")
        conv = partial(self.conv, dtype=self.dtype)
        x = self.act(conv(self.features, (self.kernel,) * 2, 2, padding=0, name="stem_conv")(x))
        features, number = {"stem": x}, 1
        for stage, count in enumerate(self.blocks, 1):
            x = max_pool(x, 3, 2, ceil_mode=True)
            for _ in range(count):
                number += 1
                x = Fire(16 * (number // 2), conv, self.act, name=f"stage{stage}_fire{number}")(x)
            features[f"stage{stage}"] = x
        features["pooled"] = global_average_pool(x)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        conv = partial(conv, kernel_init=nn.initializers.normal(0.01))
        return classified(x, features, self.classes, layer=class_maps, conv=conv, act=self.act)


_imagenet = partial(Variant, input_shape=(224, 224, 3), classes=1000)

squeezenet1_0 = _imagenet(
    build=partial(SqueezeNet, features=96, kernel=7, blocks=(3, 4, 1)),
    params=1_248_424,
    macs=818_924_576,
    source="Iandola et al. 2016, arXiv:1602.07360, table 1",
    reference="torchvision:squeezenet1_0",
)
squeezenet1_1 = _imagenet(
    build=partial(SqueezeNet, features=64, kernel=3, blocks=(2, 2, 4)),
    params=1_235_496,
    macs=349_151_936,
    source="Iandola et al. 2016, the authors' release SqueezeNet v1.1: a smaller stem, and pooling earlier",
    reference="torchvision:squeezenet1_1",
)
