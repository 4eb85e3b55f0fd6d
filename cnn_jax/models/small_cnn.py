"""A small network for 28x28 grey images such as Fashion-MNIST, trainable on two CPU cores."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool


class SmallCNN(nn.Module):
    """[B, H, W, C] with H, W >= 2^stages -> logits: 3x3 convolutions, each halved by max pooling, one hidden layer."""

    classes: int | None
    features: tuple[int, ...] = (32, 64, 128)
    hidden: int = 256
    dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=2 ** len(self.features), model="SmallCNN")
        features = {}
        for stage, width in enumerate(self.features, 1):
            x = self.conv(width, (3, 3), use_bias=False, dtype=self.dtype, name=f"conv{stage}")(x)
            x = self.act(self.norm(dtype=self.dtype, name=f"norm{stage}")(x, train=train))
            features[f"stage{stage}"] = x = max_pool(x, 2)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout1")(x.reshape(len(x), -1), train=train)
        x = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name="hidden")(x)
        features["pooled"] = x = self.act(self.norm(dtype=self.dtype, name="hidden_norm")(x, train=train))
        x = Dropout(self.dropout, name="dropout2")(x, train=train)
        return classified(x, features, self.classes)


small_cnn = Variant(
    build=partial(SmallCNN), input_shape=(28, 28, 1), classes=10, params=390_890, macs=7_748_608, source="this project"
)
