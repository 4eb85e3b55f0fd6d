"""Convolution, norm and activation as one layer: the unit of the networks of many small branches."""

from functools import partial

import flax.linen as nn
import jax

from cnn_jax.models.layers import Activation, Layer, he_depthwise


class ConvNorm(nn.Module):
    """[B, *spatial, C] -> [B, *out, features]: act(norm(conv(x))); without `padding`, that of `layers.Conv`."""

    features: int
    kernel_size: tuple[int, ...]
    conv: Layer
    norm: Layer
    act: Activation
    strides: int = 1
    padding: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.conv(self.features, self.kernel_size, self.strides, padding=self.padding, name="conv")(x)
        return self.act(self.norm(name="norm")(x, train=train))


class SeparableConvNorm(nn.Module):
    """The same by a convolution of each channel by itself and one of 1x1, each with norm and activation."""

    features: int
    kernel_size: tuple[int, ...]
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels = x.shape[-1]
        alone = partial(self.conv, groups=channels, kernel_init=he_depthwise)
        x = ConvNorm(channels, self.kernel_size, alone, self.norm, self.act, name="depthwise")(x, train=train)
        window = (1,) * len(self.kernel_size)
        plain = partial(self.conv, dilation=1)
        return ConvNorm(self.features, window, plain, self.norm, self.act, name="pointwise")(x, train=train)
