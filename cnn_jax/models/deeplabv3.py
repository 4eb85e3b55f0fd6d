"""DeepLabV3 (Chen, Papandreou, Schroff & Adam 2017, arXiv:1706.05587): a head that looks near and far by dilation."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm, SeparableConvNorm
from cnn_jax.models.encoder_decoder import EncoderDecoder
from cnn_jax.models.fcn import VOC_IMAGES
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool
from cnn_jax.models.mobilenet_v3 import mobilenet_v3_large
from cnn_jax.models.resnet import resnet50, resnet101
from cnn_jax.models.variant import Variant


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling, [B, h, w, C] -> [B, h, w, features] (section 3.3, figure 5).

    A 1x1 convolution, a 3x3 one for each of `rates`, its dilation, and the mean of the whole map: side by side, then
    brought together by a 1x1 convolution, and dropout. A 3x3 convolution whose rate is as large as the map sees its
    centre alone. separable: whether those are (Chen et al. 2018, arXiv:1802.02611, section 3.1).
    """

    rates: tuple[int, ...]
    conv: Layer
    norm: Layer
    act: Activation
    features: int = 256
    dropout: float = 0.5
    separable: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def layer(x: jax.Array, window: int, name: str, dilation: int = 1) -> jax.Array:
            conv = partial(self.conv, dilation=dilation)
            build = SeparableConvNorm if window > 1 and self.separable else ConvNorm
            return build(self.features, (window, window), conv, self.norm, self.act, name=name)(x, train=train)

        branches = [layer(x, 1, "branch1")]
        branches += [layer(x, 3, f"branch{i}", rate) for i, rate in enumerate(self.rates, 2)]
        mean = layer(global_average_pool(x)[:, None, None].astype(x.dtype), 1, "pooled")
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        y = layer(jnp.concatenate(branches, -1), 1, "project")
        return Dropout(self.dropout, name="dropout")(y, train=train)


class DeepLabHead(nn.Module):
    """[B, h, w, C] -> [B, h, w, features]: `ASPP` and a 3x3 convolution, of the last of the maps."""

    rates: tuple[int, ...] = (12, 24, 36)
    features: int = 256
    dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> jax.Array:
        aspp = ASPP(self.rates, self.conv, self.norm, self.act, self.features, self.dropout, name="aspp")
        conv = ConvNorm(self.features, (3, 3), self.conv, self.norm, self.act, name="conv")
        return conv(aspp(maps[-1], train=train), train=train)


_voc = partial(
    Variant,
    input_shape=(520, 520, 3),
    classes=21,
    preprocessing=VOC_IMAGES,
    source="Chen et al. 2017, arXiv:1706.05587, section 3.3",
)
_net = partial(EncoderDecoder, multiple=1, head=DeepLabHead)

deeplabv3_resnet50 = _voc(
    build=partial(_net, backbone=resnet50, aux="stage3"),
    params=42_004_074,
    macs=178_721_945_088,
    reference="torchvision:deeplabv3_resnet50",
)
deeplabv3_resnet101 = _voc(
    build=partial(_net, backbone=resnet101, aux="stage3"),
    params=60_996_202,
    macs=258_743_039_488,
    reference="torchvision:deeplabv3_resnet101",
)
deeplabv3_mobilenet_v3_large = _voc(
    build=partial(_net, backbone=partial(mobilenet_v3_large, inner=True), output_stride=16, aux="block4"),
    params=11_029_328,
    macs=10_452_447_938,
    reference="torchvision:deeplabv3_mobilenet_v3_large",
)
