"""The small MNIST network of Flax's first example: two convolutions and two dense layers."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Layer, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import avg_pool


class MnistCNN(nn.Module):
    """[B, H, W, C] with H, W >= 4 -> logits."""

    classes: int | None
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=4, model="MnistCNN")
        conv = partial(self.conv, kernel_size=(3, 3), dtype=self.dtype)
        features = {}
        for stage, width in enumerate((32, 64), 1):
            x = self.act(conv(width, name=f"conv{stage}")(x))
            features[f"stage{stage}"] = x = avg_pool(x, 2)
        if self.classes is None:
            return features
        x = x.reshape(len(x), -1)
        features["pooled"] = x = self.act(nn.Dense(256, dtype=self.dtype, name="hidden")(x))
        return classified(x, features, self.classes)


mnist_cnn = Variant(
    build=partial(MnistCNN),
    input_shape=(28, 28, 1),
    classes=10,
    params=824_458,
    macs=4_643_840,
    source="flax examples/mnist, train.py",
)
