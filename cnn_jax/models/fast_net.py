"""A network for reaching a given accuracy on 28x28 images in the least time on a CPU: wide, shallow, halved early.

After Keller Jordan's airbench networks for CIFAR-10 (arXiv:2404.00498, section 3.1): a cheap stem and then blocks of
two convolutions behind a pooling, because on a CPU a 3x3 convolution of many channels on a small map runs fastest.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool


class FastNet(nn.Module):
    """[B, H, W, C] with H, W >= 2^blocks -> logits: a stem, and blocks of two 3x3 convolutions with poolings between.

    The second convolution of a block has a shortcut around it.
    """

    classes: int | None
    stem: int = 32
    features: tuple[int, ...] = (64, 128)
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.gelu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=2 ** len(self.features), model="FastNet")

        def layer(x: jax.Array, width: int, name: str, pool: bool = False) -> jax.Array:
            x = self.conv(width, (3, 3), use_bias=False, dtype=self.dtype, name=f"{name}_conv")(x)
            x = max_pool(x, 2) if pool else x  # before the norm: it and the activation then see a quarter of the values
            return self.act(self.norm(dtype=self.dtype, name=f"{name}_norm")(x, train=train))

        features = {"stem": (x := layer(x, self.stem, "stem", pool=True))}
        for number, width in enumerate(self.features, 1):
            x = layer(x if number == 1 else max_pool(x, 2), width, f"block{number}_1")
            features[f"block{number}"] = x = x + layer(x, width, f"block{number}_2")
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


fast_net = Variant(
    build=partial(FastNet), input_shape=(28, 28, 1), classes=10, params=278_890, macs=21_903_104, source="this project"
)
