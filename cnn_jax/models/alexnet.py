"""AlexNet (Krizhevsky, Sutskever & Hinton 2012), in the one-tower form of Krizhevsky 2014, arXiv:1404.5997.

It differs from the network of 2012 as all of today's do: no groups, no local response normalisation, and 64 and 192
maps in the first two layers. The 6x6 map that the dense layers read is pooled to that size from any other.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Dropout, Layer, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import adaptive_avg_pool, max_pool

he_fan_in = nn.initializers.he_normal()


class AlexNet(nn.Module):
    """[B, H, W, C] with H, W >= 63 -> logits. Features are the maps before each pooling."""

    classes: int | None
    hidden: int = 4096
    dropout: float = 0.5
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=63, model="AlexNet")
        conv = partial(self.conv, dtype=self.dtype)
        dense = partial(nn.Dense, self.hidden, kernel_init=he_fan_in, dtype=self.dtype)
        features = {}
        features["stage1"] = x = self.act(conv(64, (11, 11), 4, padding=2, name="conv1")(x))
        x = max_pool(x, 3, 2)
        features["stage2"] = x = self.act(conv(192, (5, 5), name="conv2")(x))
        x = max_pool(x, 3, 2)
        x = self.act(conv(384, (3, 3), name="conv3")(x))
        x = self.act(conv(256, (3, 3), name="conv4")(x))
        features["stage3"] = x = self.act(conv(256, (3, 3), name="conv5")(x))
        if self.classes is None:
            return features
        x = adaptive_avg_pool(max_pool(x, 3, 2), 6).reshape(len(x), -1)
        x = Dropout(self.dropout, name="dropout1")(x, train=train)
        x = self.act(dense(name="fc1")(x))
        x = Dropout(self.dropout, name="dropout2")(x, train=train)
        features["pooled"] = x = self.act(dense(name="fc2")(x))
        return classified(x, features, self.classes)


alexnet = Variant(
    build=partial(AlexNet),
    input_shape=(224, 224, 3),
    classes=1000,
    params=61_100_840,
    macs=714_188_480,
    source="Krizhevsky 2014, arXiv:1404.5997, section 5",
    reference="torchvision:alexnet",
)
