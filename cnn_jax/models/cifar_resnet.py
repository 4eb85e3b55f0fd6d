"""The thin residual networks for 32x32 images (He et al. 2015, arXiv:1512.03385, section 4.2): depth 6n + 2."""

from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax.models.layers import Layer
from cnn_jax.models.resnet import ResNet, projection, small_image_stem
from cnn_jax.models.variant import Variant


def zero_padding(x: jax.Array, channels: int, strides: int, *, conv: Layer, norm: Layer, train: bool) -> jax.Array:
    """Option A (section 3.3): every `strides`-th position, and zeros for the new channels, half on each side."""
    del conv, norm, train  # no parameters
    extra = channels - x.shape[-1]
    return jnp.pad(x[:, ::strides, ::strides], ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))


_thin = partial(ResNet, features=16, shortcut=zero_padding, stem=small_image_stem)
_cifar = partial(
    Variant, input_shape=(32, 32, 3), classes=10, source="He et al. 2015, arXiv:1512.03385, section 4.2, table 6"
)

resnet20 = _cifar(build=partial(_thin, blocks=(3, 3, 3)), params=269_722, macs=40_551_040)
resnet32 = _cifar(build=partial(_thin, blocks=(5, 5, 5)), params=464_154, macs=68_862_592)
resnet44 = _cifar(build=partial(_thin, blocks=(7, 7, 7)), params=658_586, macs=97_174_144)
resnet56 = _cifar(build=partial(_thin, blocks=(9, 9, 9)), params=853_018, macs=125_485_696)
resnet110 = _cifar(build=partial(_thin, blocks=(18, 18, 18)), params=1_727_962, macs=252_887_680)
resnet20_b = _cifar(build=partial(_thin, blocks=(3, 3, 3), shortcut=projection), params=272_474, macs=40_813_184)
