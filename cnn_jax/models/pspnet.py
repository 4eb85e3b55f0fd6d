"""PSPNet (Zhao et al. 2017, arXiv:1612.01105): each place beside the means of the parts of the image it lies in."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.encoder_decoder import EncoderDecoder
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer
from cnn_jax.models.resnet import resnet50
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import adaptive_avg_pool
from cnn_jax.ops.resize import resize


class PSPHead(nn.Module):
    """[B, h, w, C] -> [B, h, w, features], of the last of the maps (section 3.2, figure 3).

    Its means over grids of 1x1, 2x2, 3x3 and 6x6 parts, each brought to `pooled` channels by a 1x1 convolution and
    resized, stand beside the map; a 3x3 convolution and dropout follow. pooled: by default C / 4.
    """

    features: int = 512
    pooled: int | None = None
    grids: tuple[int, ...] = (1, 2, 3, 6)
    dropout: float = 0.1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> jax.Array:
        x = maps[-1]
        layers = self.conv, self.norm, self.act
        width, beside = self.pooled or x.shape[-1] // len(self.grids), [x]
        for grid in self.grids:
            means = adaptive_avg_pool(x, grid)
            means = ConvNorm(width, (1, 1), *layers, name=f"pooled{grid}")(means, train=train)
            beside.append(resize(means, x.shape[1:3]))
        x = ConvNorm(self.features, (3, 3), *layers, name="conv")(jnp.concatenate(beside, -1), train=train)
        return Dropout(self.dropout, name="dropout")(x, train=train)


pspnet_resnet50 = Variant(
    build=partial(EncoderDecoder, backbone=resnet50, head=PSPHead, aux="stage3", aux_weight=0.4),
    input_shape=(480, 480, 3),
    classes=150,
    params=49_057_132,
    macs=164_508_262_400,
    source="Zhao et al. 2017, arXiv:1612.01105, section 3, on ResNet-50",
)
