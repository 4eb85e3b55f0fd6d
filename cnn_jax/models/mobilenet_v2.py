"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) at several widths."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.inverted_residual import InvertedResidualNet, Stage, round_channels, scale_width
from cnn_jax.models.variant import Preprocessing, Variant

TABLE_2 = (
    Stage(kernel=3, strides=1, expansion=1, features=16),
    Stage(kernel=3, strides=2, expansion=6, features=24),
    Stage(kernel=3, strides=2, expansion=6, features=32),
    Stage(kernel=3, strides=2, expansion=6, features=64),
    Stage(kernel=3, strides=1, expansion=6, features=96),
    Stage(kernel=3, strides=2, expansion=6, features=160),
    Stage(kernel=3, strides=1, expansion=6, features=320),
)


def _build(width: float) -> partial[InvertedResidualNet]:
    """All layers `width` times as wide, but the last convolution never narrower (section 6.1)."""
    return partial(
        InvertedResidualNet,
        stages=scale_width(TABLE_2, width),
        blocks=(1, 2, 3, 4, 3, 3, 1),
        stem=round_channels(32 * width),
        head=round_channels(1280 * max(1.0, width)),
        act=nn.relu6,
    )


_imagenet = partial(
    Variant,
    input_shape=(224, 224, 3),
    classes=1000,
    source="Sandler et al. 2018, arXiv:1801.04381, table 2",
    preprocessing=Preprocessing(size=224, crop=224 / 256),
)

mobilenet_v2_050 = _imagenet(build=_build(0.5), params=1_968_680, macs=97_131_840, reference="timm:mobilenetv2_050")
mobilenet_v2 = _imagenet(build=_build(1.0), params=3_504_872, macs=300_774_272, reference="torchvision:mobilenet_v2")
mobilenet_v2_140 = _imagenet(build=_build(1.4), params=6_108_776, macs=582_195_824, reference="timm:mobilenetv2_140")

# Their names in timm.
mobilenetv2_050, mobilenetv2_100, mobilenetv2_140 = mobilenet_v2_050, mobilenet_v2, mobilenet_v2_140
