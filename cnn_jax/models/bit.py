"""Big Transfer (Kolesnikov et al. 2020, arXiv:1912.11370, section 3.2): ResNet-v2 without any batch statistics.

GroupNorm and standardised weights take BatchNorm's place, so the networks train alike at any batch size.
"""

from functools import partial

import flax.linen as nn
import jax

from cnn_jax.models.layers import Activation, Conv, GroupNorm, Layer
from cnn_jax.models.norms import WeightStandardizedConv
from cnn_jax.models.preact_resnet import PreActBottleneck, PreActResNet
from cnn_jax.models.variant import Variant
from cnn_jax.ops.chunks import pad_spatial
from cnn_jax.ops.pooling import max_pool


def bit_stem(x: jax.Array, features: int, *, conv: Layer) -> jax.Array:
    """7x7 convolution and 3x3 max pooling, both of stride 2; the pooling sees zeros beyond the border."""
    x = conv(features, (7, 7), 2, name="stem_conv")(x)
    return max_pool(pad_spatial(x, ((1, 1), (1, 1))), 3, 2)


def conv_classifier(classes: int, *, name: str) -> Activation:
    """A linear layer, [B, C] -> [B, classes], written as a 1x1 convolution, as the published weights have it."""
    layer = Conv(classes, (1, 1), kernel_init=nn.initializers.normal(0.01), name=name)
    return lambda x: layer(x[:, None, None])[:, 0, 0]


_bit = partial(
    PreActResNet,
    block=PreActBottleneck,
    stem=bit_stem,
    classifier=conv_classifier,
    conv=partial(WeightStandardizedConv, epsilon=1e-8),
    norm=GroupNorm,
)
_imagenet = partial(
    Variant, input_shape=(224, 224, 3), classes=1000, source="Kolesnikov et al. 2020, arXiv:1912.11370, section 3.2"
)

bit_r50x1 = _imagenet(
    build=partial(_bit, blocks=(3, 4, 6, 3), features=64),
    params=25_549_352,
    macs=4_089_184_256,
    reference="timm:resnetv2_50x1_bit",
)
bit_r50x3 = _imagenet(
    build=partial(_bit, blocks=(3, 4, 6, 3), features=192),
    params=217_319_080,
    macs=36_082_286_592,
    reference="timm:resnetv2_50x3_bit",
)
bit_r101x1 = _imagenet(
    build=partial(_bit, blocks=(3, 4, 23, 3), features=64),
    params=44_541_480,
    macs=7_801_405_440,
    reference="timm:resnetv2_101x1_bit",
)

# Their names in timm.
resnetv2_50x1_bit, resnetv2_50x3_bit, resnetv2_101x1_bit = bit_r50x1, bit_r50x3, bit_r101x1
