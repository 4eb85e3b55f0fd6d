"""All-CNN-C (Springenberg, Dosovitskiy, Brox & Riedmiller 2014, arXiv:1412.6806, tables 1 and 2).

Strided convolutions replace pooling, and 1x1 convolutions the dense layers. There is no normalisation.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, class_maps, classified
from cnn_jax.models.layers import Activation, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant


class AllCNN(nn.Module):
    """[B, H, W, C] with H, W >= 9 -> logits.

    Dropout is the paper's (section 3.1): on the input, and after each layer that stands where a pooling layer was.
    The class maps pass through `act` before they are averaged, as in table 1, so with relu no logit is negative.
    """

    classes: int | None
    input_dropout: float = 0.2
    dropout: float = 0.5
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=9, model="All-CNN-C")
        conv = partial(self.conv, dtype=self.dtype)
        features = {}
        x = Dropout(self.input_dropout, name="input_dropout")(x, train=train)
        for stage, width in enumerate((96, 192), 1):
            for i, strides in enumerate((1, 1, 2), 1):
                x = self.act(conv(width, (3, 3), strides, name=f"stage{stage}_conv{i}")(x))
            features[f"stage{stage}"] = x
            x = Dropout(self.dropout, name=f"dropout{stage}")(x, train=train)
        # unpadded: 8x8 becomes the 6x6 positions that the paper averages over
        x = self.act(conv(192, (3, 3), padding=0, name="stage3_conv1")(x))
        features["stage3"] = x = self.act(conv(192, (1, 1), name="stage3_conv2")(x))
        features["pooled"] = global_average_pool(x)
        return classified(x, features, self.classes, layer=class_maps, conv=conv, act=self.act)


all_cnn_c = Variant(
    build=partial(AllCNN),
    input_shape=(32, 32, 3),
    classes=10,
    params=1_369_738,
    macs=270_798_336,
    source="Springenberg et al. 2014, arXiv:1412.6806, table 2, All-CNN-C",
)
