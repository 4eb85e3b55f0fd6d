"""MNASNet-B1 (Tan et al. 2019, arXiv:1807.11626), the variant without squeeze-and-excitation, at several widths."""

from functools import partial

from cnn_jax.models.inverted_residual import InvertedResidualNet, Stage, round_channels, scale_width
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.variant import Preprocessing, Variant

FIGURE_7 = (
    Stage(kernel=3, strides=1, expansion=1, features=16),
    Stage(kernel=3, strides=2, expansion=3, features=24),
    Stage(kernel=5, strides=2, expansion=3, features=40),
    Stage(kernel=5, strides=2, expansion=6, features=80),
    Stage(kernel=3, strides=1, expansion=6, features=96),
    Stage(kernel=5, strides=2, expansion=6, features=192),
    Stage(kernel=3, strides=1, expansion=6, features=320),
)


def _build(width: float) -> partial[InvertedResidualNet]:
    """All layers but the last convolution `width` times as wide."""
    return partial(
        InvertedResidualNet,
        stages=scale_width(FIGURE_7, width),
        blocks=(1, 3, 3, 3, 2, 4, 1),
        stem=round_channels(32 * width),
        norm=partial(BatchNorm, momentum=0.9997),
    )


_imagenet = partial(
    Variant,
    input_shape=(224, 224, 3),
    classes=1000,
    source="Tan et al. 2019, arXiv:1807.11626, appendix (MnasNet-B1)",
)

mnasnet_050 = _imagenet(
    build=_build(0.5),
    params=2_218_512,
    macs=104_455_968,
    reference="torchvision:mnasnet0_5",
    preprocessing=Preprocessing(size=224, crop=224 / 256),
)
mnasnet_075 = _imagenet(
    build=_build(0.75),
    params=3_170_208,
    macs=215_493_104,
    reference="torchvision:mnasnet0_75",
    preprocessing=Preprocessing(size=224, crop=224 / 232),
)
mnasnet_100 = _imagenet(
    build=_build(1.0),
    params=4_383_312,
    macs=314_415_872,
    reference="torchvision:mnasnet1_0",
    preprocessing=Preprocessing(size=224, crop=224 / 256),
)
mnasnet_130 = _imagenet(
    build=_build(1.3),
    params=6_282_256,
    macs=526_362_432,
    reference="torchvision:mnasnet1_3",
    preprocessing=Preprocessing(size=224, crop=224 / 232),
)

# Their names in torchvision.
mnasnet0_5, mnasnet0_75, mnasnet1_0, mnasnet1_3 = mnasnet_050, mnasnet_075, mnasnet_100, mnasnet_130
