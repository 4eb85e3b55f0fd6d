"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, section II.B), as it is built today.

Three liberties that everyone takes: every map of C3 sees all maps of S2 (the paper's table I drops some), the pooling
has no parameters, and the output is a linear layer instead of Gaussian distances.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Layer, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import avg_pool


def scaled_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2x / 3), which maps +-1 to +-1 (appendix A of the paper)."""
    return 1.7159 * jnp.tanh(x * (2.0 / 3.0))


class LeNet(nn.Module):
    """[B, H, W, C] with H, W >= 16 - 2 padding -> logits. The paper pads 28x28 digits to 32x32: `padding` 2."""

    classes: int | None
    padding: int = 0
    conv: Layer = Conv
    act: Activation = scaled_tanh
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=16 - 2 * self.padding, model="LeNet-5")
        init = nn.initializers.lecun_normal()  # unit gain: tanh is linear around 0
        conv = partial(self.conv, kernel_size=(5, 5), kernel_init=init, dtype=self.dtype)
        features = {}
        x = self.act(conv(6, padding=self.padding, name="c1")(x))
        features["stage1"] = x = avg_pool(x, 2)
        x = self.act(conv(16, padding=0, name="c3")(x))
        features["stage2"] = x = avg_pool(x, 2)
        if self.classes is None:
            return features
        x = x.reshape(len(x), -1)
        x = self.act(nn.Dense(120, dtype=self.dtype, name="c5")(x))
        features["pooled"] = x = self.act(nn.Dense(84, dtype=self.dtype, name="f6")(x))
        return classified(x, features, self.classes)


lenet5 = Variant(
    build=partial(LeNet),
    input_shape=(32, 32, 1),
    classes=10,
    params=61_706,
    macs=416_520,
    source="LeCun et al. 1998, Gradient-based learning applied to document recognition, figure 2",
)
lenet5_28 = Variant(
    build=partial(LeNet, padding=2),
    input_shape=(28, 28, 1),
    classes=10,
    params=61_706,
    macs=416_520,
    source="LeCun et al. 1998, figure 2: 28x28 digits centred in a 32x32 field",
)
