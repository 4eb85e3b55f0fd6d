"""UPerNet (Xiao et al. 2018, arXiv:1807.10221): a feature pyramid below PSPNet's pooling, all levels read at once."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.convnext import convnext_tiny
from cnn_jax.models.encoder_decoder import EncoderDecoder, FCNHead
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer
from cnn_jax.models.pspnet import PSPHead
from cnn_jax.models.resnet import resnet50
from cnn_jax.models.variant import Variant
from cnn_jax.ops.resize import resize


class UPerHead(nn.Module):
    """Maps, finest first -> [B, h, w, features], of the size of the first (section 3.2, figure 4).

    The last map by PSPNet's pooling, each other one by a 1x1 convolution, plus the level above, resized, and then by a
    3x3 convolution: side by side in the size of the first, with one more 3x3 convolution, and dropout.
    """

    features: int = 512
    dropout: float = 0.1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> jax.Array:
        def layer(x: jax.Array, window: int, name: str) -> jax.Array:
            conv = ConvNorm(self.features, (window, window), self.conv, self.norm, self.act, name=name)
            return conv(x, train=train)

        *finer, last = maps
        pooling = partial(PSPHead, self.features, self.features, dropout=0.0, name="pooling")
        above = pooling(conv=self.conv, norm=self.norm, act=self.act)([last], train=train)
        levels = [above]
        for i, x in reversed(list(enumerate(finer, 1))):
            above = layer(x, 1, f"inner{i}") + resize(above, x.shape[1:3])
            levels.insert(0, layer(above, 3, f"layer{i}"))
        size = levels[0].shape[1:3]
        x = layer(jnp.concatenate([resize(level, size) for level in levels], -1), 3, "conv")
        return Dropout(self.dropout, name="dropout")(x, train=train)


_net = partial(EncoderDecoder, output_stride=32, head=UPerHead, finer=(4, 8, 16), aux_weight=0.4)
_ade = partial(Variant, classes=150)

upernet_resnet50 = _ade(
    build=partial(_net, backbone=resnet50),
    input_shape=(512, 512, 3),
    params=64_098_518,
    macs=236_606_980_096,
    source="Xiao et al. 2018, arXiv:1807.10221, section 3.2, on ResNet-50",
)
upernet_convnext_tiny = _ade(
    build=partial(_net, backbone=convnext_tiny, aux=16, aux_head=partial(FCNHead, features=256)),
    input_shape=(512, 2048, 3),
    params=60_239_756,
    macs=942_266_646_528,
    # without the norms that are there between backbone and head
    source="Liu et al. 2022, arXiv:2201.03545, section 4.3: 60 M, and 939 G without the auxiliary head",
)
