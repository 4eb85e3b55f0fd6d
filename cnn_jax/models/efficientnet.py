"""EfficientNet B0 to B7 (Tan & Le 2019, arXiv:1905.11946) and EfficientNet-Lite 0 to 4.

Lite is the authors' simplification for phones: no squeeze-and-excitation, ReLU6, and a stem and last convolution of
one width for all. Its weights come from TensorFlow, hence SAME padding with the odd zero at the end.
"""

import math
from functools import partial

import flax.linen as nn

from cnn_jax.models.inverted_residual import InvertedResidualNet, Stage, round_channels, scale_width
from cnn_jax.models.layers import BatchNorm, Conv, Layer
from cnn_jax.models.variant import Preprocessing, Variant

TABLE_1 = (
    Stage(kernel=3, strides=1, expansion=1, features=16),
    Stage(kernel=3, strides=2, expansion=6, features=24),
    Stage(kernel=5, strides=2, expansion=6, features=40),
    Stage(kernel=3, strides=2, expansion=6, features=80),
    Stage(kernel=5, strides=1, expansion=6, features=112),
    Stage(kernel=5, strides=2, expansion=6, features=192),
    Stage(kernel=3, strides=1, expansion=6, features=320),
)
DEPTHS = (1, 2, 2, 3, 3, 4, 1)
TENSORFLOW_NORM = partial(BatchNorm, epsilon=1e-3, momentum=0.99)


def _b(width: float, depth: float, dropout: float, norm: Layer = BatchNorm) -> partial[InvertedResidualNet]:
    """`width` times as many channels and `depth` times as many blocks as B0 (section 3.3)."""
    return partial(
        InvertedResidualNet,
        stages=scale_width(TABLE_1, width),
        blocks=tuple(math.ceil(count * depth) for count in DEPTHS),
        stem=round_channels(32 * width),
        head=round_channels(1280 * width),
        squeeze=True,
        dropout=dropout,
        drop_path=0.2,
        norm=norm,
        act=nn.silu,
    )


def _tensorflow_padding(conv: Layer) -> Layer:
    return partial(conv, padding="SAME")


def _lite(width: float, depth: float, dropout: float) -> partial[InvertedResidualNet]:
    """Stem, last convolution, and the depth of the first and the last stage do not scale."""
    return partial(
        InvertedResidualNet,
        stages=scale_width(TABLE_1, width),
        blocks=(1, *(math.ceil(count * depth) for count in DEPTHS[1:-1]), 1),
        dropout=dropout,
        drop_path=0.2,
        conv=_tensorflow_padding(Conv),
        norm=TENSORFLOW_NORM,
        act=nn.relu6,
    )


_b_imagenet = partial(Variant, classes=1000, source="Tan & Le 2019, arXiv:1905.11946, tables 1 and 2")
_lite_imagenet = partial(
    Variant, classes=1000, source="Tan & Le 2019, arXiv:1905.11946, and the authors' code for EfficientNet-Lite"
)


def _lite_images(size: int) -> Preprocessing:
    """(x - 127) / 128 of pixels in [0, 255], cut from an image 32 pixels larger."""
    return Preprocessing(size, size / (size + 32), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


efficientnet_b0 = _b_imagenet(
    build=_b(1.0, 1.0, 0.2),
    input_shape=(224, 224, 3),
    params=5_288_548,
    macs=385_814_752,
    reference="torchvision:efficientnet_b0",
    preprocessing=Preprocessing(224, crop=224 / 256, interpolation="bicubic"),
)
efficientnet_b1 = _b_imagenet(
    build=_b(1.0, 1.1, 0.2),
    input_shape=(240, 240, 3),
    params=7_794_184,
    macs=686_802_832,
    reference="torchvision:efficientnet_b1",
    preprocessing=Preprocessing(240, crop=240 / 255),
)
efficientnet_b2 = _b_imagenet(
    build=_b(1.1, 1.2, 0.3),
    input_shape=(260, 260, 3),
    params=9_109_994,
    macs=993_561_872,
    reference="torchvision:efficientnet_b2",
    preprocessing=Preprocessing(288, crop=1.0, interpolation="bicubic"),
)
efficientnet_b3 = _b_imagenet(
    build=_b(1.2, 1.4, 0.3),
    input_shape=(300, 300, 3),
    params=12_233_232,
    macs=1_827_141_392,
    reference="torchvision:efficientnet_b3",
    preprocessing=Preprocessing(300, crop=300 / 320, interpolation="bicubic"),
)
efficientnet_b4 = _b_imagenet(
    build=_b(1.4, 1.8, 0.4),
    input_shape=(380, 380, 3),
    params=19_341_616,
    macs=4_393_771_024,
    reference="torchvision:efficientnet_b4",
    preprocessing=Preprocessing(380, crop=380 / 384, interpolation="bicubic"),
)
efficientnet_b5 = _b_imagenet(
    build=_b(1.6, 2.2, 0.4, TENSORFLOW_NORM),
    input_shape=(456, 456, 3),
    params=30_389_784,
    macs=10_266_384_752,
    reference="torchvision:efficientnet_b5",
    preprocessing=Preprocessing(456, crop=1.0, interpolation="bicubic"),
)
efficientnet_b6 = _b_imagenet(
    build=_b(1.8, 2.6, 0.5, TENSORFLOW_NORM),
    input_shape=(528, 528, 3),
    params=43_040_704,
    macs=19_067_593_536,
    reference="torchvision:efficientnet_b6",
    preprocessing=Preprocessing(528, crop=1.0, interpolation="bicubic"),
)
efficientnet_b7 = _b_imagenet(
    build=_b(2.0, 3.1, 0.5, TENSORFLOW_NORM),
    input_shape=(600, 600, 3),
    params=66_347_960,
    macs=37_745_884_192,
    reference="torchvision:efficientnet_b7",
    preprocessing=Preprocessing(600, crop=1.0, interpolation="bicubic"),
)

efficientnet_lite0 = _lite_imagenet(
    build=_lite(1.0, 1.0, 0.2),
    input_shape=(224, 224, 3),
    params=4_652_008,
    macs=385_187_552,
    reference="timm:tf_efficientnet_lite0",
    preprocessing=_lite_images(224),
)
efficientnet_lite1 = _lite_imagenet(
    build=_lite(1.0, 1.1, 0.2),
    input_shape=(240, 240, 3),
    params=5_416_680,
    macs=600_185_232,
    reference="timm:tf_efficientnet_lite1",
    preprocessing=_lite_images(240),
)
efficientnet_lite2 = _lite_imagenet(
    build=_lite(1.1, 1.2, 0.3),
    input_shape=(260, 260, 3),
    params=6_092_072,
    macs=859_736_272,
    reference="timm:tf_efficientnet_lite2",
    preprocessing=_lite_images(260),
)
efficientnet_lite3 = _lite_imagenet(
    build=_lite(1.2, 1.4, 0.3),
    input_shape=(280, 280, 3),
    params=8_197_096,
    macs=1_383_321_872,
    reference="timm:tf_efficientnet_lite3",
    preprocessing=_lite_images(280),
)
efficientnet_lite4 = _lite_imagenet(
    build=_lite(1.4, 1.8, 0.3),
    input_shape=(300, 300, 3),
    params=13_006_568,
    macs=2_553_034_336,
    reference="timm:tf_efficientnet_lite4",
    preprocessing=_lite_images(300),
)

# Their names in timm.
tf_efficientnet_lite0, tf_efficientnet_lite1, tf_efficientnet_lite2 = (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
tf_efficientnet_lite3, tf_efficientnet_lite4 = efficientnet_lite3, efficientnet_lite4
