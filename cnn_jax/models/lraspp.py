"""LR-ASPP (Howard et al. 2019, arXiv:1905.02244, section 6.4): little more than a MobileNet that sees every pixel."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.encoder_decoder import Place, class_init, encoded
from cnn_jax.models.fcn import VOC_IMAGES
from cnn_jax.models.heads import Output
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool
from cnn_jax.models.mobilenet_v3 import mobilenet_v3_large
from cnn_jax.models.segmenter import LOGITS
from cnn_jax.models.variant import Variant
from cnn_jax.ops.resize import resize


class SummedClassifier(nn.Module):
    """The sum of a 1x1 convolution of each of two maps, [B, h, w, C] and [B, h, w, D] -> [B, h, w, classes]."""

    classes: int
    conv: Layer

    @nn.compact
    def __call__(self, low: jax.Array, high: jax.Array) -> jax.Array:
        conv = partial(self.conv, self.classes, (1, 1), kernel_init=class_init)
        return conv(name="low")(low) + conv(name="high")(high)


class LRASPP(nn.Module):
    """[B, H, W, C] -> logits [B, H, W, classes] (figure 10).

    A 1x1 convolution of the backbone's last map to `width` channels, each scaled by what the mean of the whole map
    says, is resized to a finer map, at `low`; each of the two gives logits, which are added.

    backbone, output_stride, multiple, norm: as in `EncoderDecoder`.
    """

    classes: int | None
    backbone: Layer = partial(mobilenet_v3_large, inner=True)
    output_stride: int = 16
    multiple: int = 32
    low: Place = 8
    width: int = 128
    norm: Layer | None = None
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    def loss_weights(self) -> dict[str, float]:
        return {LOGITS: 1.0}

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        features, (low,), to_pixels = encoded(self, x, [self.low], train=train)
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm or BatchNorm, dtype=self.dtype)
        last = list(features.values())[-1]
        mean = global_average_pool(last)[:, None, None].astype(last.dtype)
        scale = nn.sigmoid(conv(self.width, (1, 1), name="scale")(mean))
        high = ConvNorm(self.width, (1, 1), conv, norm, self.act, name="high")(last, train=train) * scale
        features["head"] = high = resize(high, low.shape[1:3])
        if self.classes is None:
            return features
        return to_pixels(SummedClassifier(self.classes, self.conv, name="classifier")(low, high)), features


lraspp_mobilenet_v3_large = Variant(
    build=partial(LRASPP, low="block4", multiple=1),
    input_shape=(520, 520, 3),
    classes=21,
    params=3_221_538,
    macs=2_086_219_688,
    source="Howard et al. 2019, arXiv:1905.02244, section 6.4",
    reference="torchvision:lraspp_mobilenet_v3_large",
    preprocessing=VOC_IMAGES,
)
