"""DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611): what DeepLabV3's head finds, sharpened by an early map."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm, SeparableConvNorm
from cnn_jax.models.deeplabv3 import ASPP
from cnn_jax.models.encoder_decoder import EncoderDecoder
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer
from cnn_jax.models.resnet import resnet50
from cnn_jax.models.variant import Variant
from cnn_jax.ops.resize import resize


class DeepLabV3PlusHead(nn.Module):
    """An early map and the last one -> [B, h, w, features], of the size of the early one (figure 2).

    ASPP of the last map, resized, stands beside a 1x1 convolution of the early one to `low` channels; two 3x3
    convolutions follow. Those of more than one tap are separable (section 3.1).
    """

    rates: tuple[int, ...] = (6, 12, 18)
    features: int = 256
    low: int = 48
    dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> jax.Array:
        early, last = maps
        layers = self.conv, self.norm, self.act
        aspp = ASPP(self.rates, *layers, self.features, self.dropout, separable=True, name="aspp")
        far = resize(aspp(last, train=train), early.shape[1:3])
        x = jnp.concatenate([far, ConvNorm(self.low, (1, 1), *layers, name="low")(early, train=train)], -1)
        for i in (1, 2):
            x = SeparableConvNorm(self.features, (3, 3), *layers, name=f"conv{i}")(x, train=train)
        return x


deeplabv3plus_resnet50 = Variant(
    build=partial(EncoderDecoder, backbone=resnet50, output_stride=16, head=DeepLabV3PlusHead, finer=(4,)),
    input_shape=(512, 512, 3),
    classes=21,
    params=26_696_133,
    macs=37_687_132_160,
    source="Chen et al. 2018, arXiv:1802.02611, section 3.1 and figure 2, on ResNet-50",
)
