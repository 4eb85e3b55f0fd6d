"""Networks for MNIST-1D signals [B, L, C]: the data set's own convolutional baseline, and a deeper one of ours."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant

# PyTorch's default, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which the published network was trained from
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class ConvBase(nn.Module):
    """[B, L, C] with L >= 3 -> logits: three strided convolutions, all padded by 1, and a linear layer."""

    classes: int | None
    features: int = 25
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=1, smallest=3, model="ConvBase")
        features = {}
        for stage, kernel in enumerate((5, 3, 3), 1):
            conv = partial(self.conv, padding=1, kernel_init=torch_uniform, dtype=self.dtype, name=f"conv{stage}")
            features[f"stage{stage}"] = x = self.act(conv(self.features, (kernel,), 2)(x))
        features["pooled"] = x = x.reshape(len(x), -1)
        return classified(x, features, self.classes, kernel_init=torch_uniform)


class DeepConv(nn.Module):
    """[B, L, C] -> logits: pairs of normalised convolutions of width 5, the first of each later pair of stride 2."""

    classes: int | None
    features: tuple[int, ...] = (32, 64, 80)
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=1, smallest=1, model="DeepConv")
        conv = partial(self.conv, kernel_size=(5,), use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        features = {}
        for stage, width in enumerate(self.features, 1):
            for i in (1, 2):
                x = conv(width, strides=2 if stage > 1 and i == 1 else 1, name=f"stage{stage}_conv{i}")(x)
                x = self.act(norm(name=f"stage{stage}_norm{i}")(x, train=train))
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


conv_base = Variant(
    build=partial(ConvBase),
    input_shape=(40, 1),
    classes=10,
    params=5_210,
    macs=31_750,
    source="Greydanus & Kobak 2020, arXiv:2011.14439; notebooks/models.py of its repository",
)
deep = Variant(
    build=partial(DeepConv), input_shape=(40, 1), classes=10, params=95_114, macs=1_402_400, source="this project"
)
