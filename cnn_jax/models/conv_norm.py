"""Convolution, norm and activation as one layer: the unit of the networks of many small branches."""

import flax.linen as nn
import jax

from cnn_jax.models.layers import Activation, Layer


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
