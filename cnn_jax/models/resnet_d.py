"""ResNet-D (He et al. 2019, arXiv:1812.01187, section 4.2): no position is skipped where the map becomes smaller.

The 7x7 convolution of the stem becomes three of 3x3, and shortcuts average before their 1x1 convolution.
"""

from collections.abc import Callable
from functools import partial

import jax

from cnn_jax.models.attention import ECA
from cnn_jax.models.layers import Activation, Layer
from cnn_jax.models.resnet import Bottleneck, ResNet, stem_pool
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import avg_pool


def deep_stem(
    x: jax.Array,
    features: int,
    *,
    conv: Layer,
    norm: Layer,
    act: Activation,
    train: bool,
    seen: Callable[[jax.Array], None] | None = None,
) -> jax.Array:
    """Three 3x3 convolutions, one of stride 2, two of half the width, and 3x3 max pooling (ResNet-C).

    seen: is called with the map before the pooling.
    """
    for i, (width, strides) in enumerate(((features // 2, 2), (features // 2, 1), (features, 1)), start=1):
        x = act(norm(name=f"stem_norm{i}")(conv(width, (3, 3), strides, name=f"stem_conv{i}")(x), train=train))
    if seen:
        seen(x)
    return stem_pool(x)


def average(x: jax.Array, strides: int) -> jax.Array:
    """Means of windows of `strides` x `strides`; those that reach over the end of x hold fewer positions."""
    pads = [(0, -size % strides) for size in x.shape[1:-1]]
    return avg_pool(x, strides, padding=pads, count_include_pad=False)


def average_projection(
    x: jax.Array, channels: int, strides: int, *, conv: Layer, norm: Layer, train: bool
) -> jax.Array:
    """Averages and a 1x1 convolution where the shape changes, the identity elsewhere (ResNet-D)."""
    if strides == 1 and x.shape[-1] == channels:
        return x
    x = conv(channels, (1, 1), name="shortcut_conv")(average(x, strides))
    return norm(name="shortcut_norm")(x, train=train)


_50d = partial(ResNet, blocks=(3, 4, 6, 3), block=Bottleneck, stem=deep_stem, shortcut=average_projection)
_imagenet = partial(Variant, input_shape=(224, 224, 3), classes=1000)

resnet50d = _imagenet(
    build=_50d,
    params=25_576_264,
    macs=4_328_824_832,
    source="He et al. 2019, arXiv:1812.01187, table 5",
    reference="timm:resnet50d",
)
ecaresnet50d = _imagenet(
    build=partial(_50d, attention=ECA),
    params=25_576_350,
    macs=4_328_912_640,
    source="Wang et al. 2020, arXiv:1910.03151, section 3.3, on ResNet-50-D",
    reference="timm:ecaresnet50d",
)
