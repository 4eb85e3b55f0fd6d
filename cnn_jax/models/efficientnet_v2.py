"""EfficientNetV2 S, M and L (Tan & Le 2021, arXiv:2104.00298): early stages with fused blocks."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.inverted_residual import InvertedResidualNet, Stage
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.variant import Preprocessing, Variant

SMALL = (  # table 4
    Stage(kernel=3, strides=1, expansion=1, features=24, fused=True),
    Stage(kernel=3, strides=2, expansion=4, features=48, fused=True),
    Stage(kernel=3, strides=2, expansion=4, features=64, fused=True),
    Stage(kernel=3, strides=2, expansion=4, features=128),
    Stage(kernel=3, strides=1, expansion=6, features=160),
    Stage(kernel=3, strides=2, expansion=6, features=256),
)


def _seven(*features: int) -> tuple[Stage, ...]:
    """The stages of M and L: those of S, and one more of stride 1 behind them."""
    stages = (*SMALL, SMALL[-1]._replace(strides=1))
    return tuple(stage._replace(features=width) for stage, width in zip(stages, features, strict=True))


_net = partial(InvertedResidualNet, squeeze=True, drop_path=0.2, norm=partial(BatchNorm, epsilon=1e-3), act=nn.silu)
_imagenet = partial(
    Variant, classes=1000, source="Tan & Le 2021, arXiv:2104.00298, tables 4 and 7, and the authors' code"
)

efficientnet_v2_s = _imagenet(
    build=partial(_net, stages=SMALL, blocks=(2, 4, 4, 6, 9, 15), stem=24),
    input_shape=(384, 384, 3),
    params=21_458_488,
    macs=8_365_617_152,
    reference="torchvision:efficientnet_v2_s",
    preprocessing=Preprocessing(384, crop=1.0),
)
efficientnet_v2_m = _imagenet(
    build=partial(
        _net,
        stages=_seven(24, 48, 80, 160, 176, 304, 512),
        blocks=(3, 5, 5, 7, 14, 18, 5),
        stem=24,
        dropout=0.3,
    ),
    input_shape=(480, 480, 3),
    params=54_139_356,
    macs=24_582_460_384,
    reference="torchvision:efficientnet_v2_m",
    preprocessing=Preprocessing(480, crop=1.0),
)
efficientnet_v2_l = _imagenet(
    build=partial(
        _net,
        stages=_seven(32, 64, 96, 192, 224, 384, 640),
        blocks=(4, 7, 7, 10, 19, 25, 7),
        dropout=0.4,
    ),
    input_shape=(480, 480, 3),
    params=118_515_272,
    macs=56_079_699_008,
    reference="torchvision:efficientnet_v2_l",
    preprocessing=Preprocessing(480, crop=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"),
)

# Their names in timm.
efficientnetv2_s, efficientnetv2_m, efficientnetv2_l = efficientnet_v2_s, efficientnet_v2_m, efficientnet_v2_l
