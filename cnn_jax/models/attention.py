"""Channel attention: small modules that weigh the channels of a map by what the whole map holds."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from cnn_jax.models.layers import Activation, Conv, Layer


class SqueezeExcite(nn.Module):
    """[B, H, W, C] -> the same, each channel scaled by gate(expand(act(reduce(mean over positions)))).

    Hu et al. 2018, arXiv:1709.01507, figure 2. `reduced` is the width of the bottleneck; both layers are 1x1
    convolutions with bias, which is how every published set of weights stores them or can be read.
    """

    reduced: int
    act: Activation = nn.relu
    gate: Callable[[jax.Array], jax.Array] = nn.sigmoid
    conv: Layer = Conv
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weights = x.mean((1, 2), keepdims=True)
        weights = self.act(self.conv(self.reduced, (1, 1), dtype=self.dtype, name="reduce")(weights))
        return x * self.gate(self.conv(x.shape[-1], (1, 1), dtype=self.dtype, name="expand")(weights))
