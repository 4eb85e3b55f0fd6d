"""Convolutions over characters (Zhang, Zhao & LeCun 2015, arXiv:1509.01626): nine layers, small and large.

They read frames of 1014 characters, the last one first, with one of 70 channels for each symbol: `unit='zhang'` and
`lengths=(1014,)` of a source of texts. (The published alphabet has the hyphen twice and ends with the blank, so two of
the 70 channels are never 1; on tokens the network has the 68 others.)
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Dropout, Layer
from cnn_jax.models.masked import Mixed, known, one_hot, read
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool

WIDTHS, POOLED = (7, 7, 3, 3, 3, 3), (1, 2, 6)  # of the convolutions, and after which of them a maximum of 3 is taken


class CharCNN(nn.Module):
    """[B, 1014] tokens or [B, L, C] one-hot characters -> logits: six convolutions, three dense layers.

    Padding is a character without a channel, as published; all texts of tokens have the length of the frame.

    features: filters of a convolution; hidden: of the dense layers; deviation: of the normal weights at the start.
    """

    classes: int | None
    features: int
    hidden: int
    deviation: float
    vocabulary: int | None = None
    frame: int = 1014
    dropout: float = 0.5
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mixed: Mixed = None) -> Output:
        if jnp.issubdtype(x.dtype, jnp.integer) and x.shape[1] != self.frame:
            said = f"CharCNN reads frames of {self.frame} characters, not {x.shape[1]}"
            raise ValueError(f"{said}: say lengths=({self.frame},) of the source, or frame={x.shape[1]} of the model")
        x, _ = read(x, self._channels, model="CharCNN", dtype=self.dtype, mixed=mixed)
        init = nn.initializers.normal(self.deviation)
        features: dict[str, jax.Array] = {}
        for number, width in enumerate(WIDTHS, 1):
            conv = self.conv(
                self.features, (width,), padding=0, kernel_init=init, dtype=self.dtype, name=f"conv{number}"
            )
            if x.shape[1] < width:
                raise ValueError(f"CharCNN needs 123 characters or more, not {x.shape[1]} of its layer {number}")
            x = self.act(conv(x))
            if number in POOLED:
                features[f"stage{len(features) + 1}"] = x = max_pool(x, 3)
        if self.classes is None:
            return features
        x = x.reshape(len(x), -1)
        for number in (1, 2):
            x = self.act(nn.Dense(self.hidden, kernel_init=init, dtype=self.dtype, name=f"dense{number}")(x))
            features["pooled"] = x
            x = Dropout(self.dropout)(x, train=train)
        return classified(x, features, self.classes, kernel_init=init)

    def _channels(self) -> Callable[[jax.Array], jax.Array]:
        return partial(one_hot, symbols=known(self.vocabulary, "CharCNN") - 1)  # one is for what it lacks


_table_1 = partial(
    Variant, input_shape=(1014, 70), classes=4, source="Zhang et al. 2015, arXiv:1509.01626, tables 1 and 2 (AG's news)"
)

char_cnn_small = _table_1(
    build=partial(CharCNN, features=256, hidden=1024, deviation=0.05), params=11_339_780, macs=370_372_608
)
char_cnn_large = _table_1(
    build=partial(CharCNN, features=1024, hidden=2048, deviation=0.02), params=95_940_612, macs=4_324_696_064
)
