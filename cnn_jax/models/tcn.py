"""Causal networks: TCN (Bai, Kolter & Koltun 2018, arXiv:1803.01271) and ByteNet's decoder with a classifier.

No position sees a later one, as every convolution is padded on the left alone. Bai et al. read the last position;
ByteNet (Kalchbrenner et al. 2016, arXiv:1610.10099) translates, and here classifies by the mean over all positions.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Dropout, Layer
from cnn_jax.models.masked import Mixed, Real, kept, last, mean, read, table, widened
from cnn_jax.models.variant import Variant
from cnn_jax.ops.convolution import convolution


def causal(width: int, dilation: int) -> list[tuple[int, int]]:
    """The padding with which no output sees a later input, and all are as many."""
    return [((width - 1) * dilation, 0)]


class NormedConv(nn.Module):
    """A convolution whose kernel has a direction and, for each filter, a length (Salimans & Kingma 2016,
    arXiv:1602.07868), which begins as that of the direction. Arguments are those of `layers.Conv`."""

    features: int
    kernel_size: tuple[int, ...]
    padding: Any
    dilation: int = 1
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.01)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        length = jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1))))
        gain = self.param("gain", lambda *_: length)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        dtype = self.dtype or jnp.result_type(x, kernel)
        weights = (kernel * (gain / length)).astype(dtype)
        y = convolution(x.astype(dtype), weights, padding=self.padding, dilation=self.dilation)
        return y + bias.astype(y.dtype)


class TCN(nn.Module):
    """[B, L] tokens or [B, L, C] vectors -> logits: levels of two causal convolutions of dilation 1, 2, 4, ...

    The last position sees 1 + 2 (width - 1) (2^levels - 1) of those before. levels: the filters of each.
    """

    classes: int | None
    levels: tuple[int, ...]
    width: int
    vocabulary: int | None = None
    dim: int = 100
    dropout: float = 0.05
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mixed: Mixed = None) -> Output:
        x, real = read(x, table(self.vocabulary, self.dim, model="TCN"), model="TCN", dtype=self.dtype, mixed=mixed)
        features = {}
        for level, filters in enumerate(self.levels):
            name, dilation, y = f"level{level + 1}", 2**level, x
            for layer in (1, 2):
                conv = NormedConv(
                    filters,
                    (self.width,),
                    causal(self.width, dilation),
                    dilation,
                    dtype=self.dtype,
                    name=f"{name}_conv{layer}",
                )
                y = Dropout(self.dropout)(self.act(kept(conv(y), real)), train=train)
            if x.shape[-1] != filters:
                x = kept(Conv(filters, (1,), dtype=self.dtype, name=f"{name}_shortcut")(x), real)
            features[name] = x = self.act(x + y)
        features["pooled"] = x = widened(last(x, real))
        return classified(x, features, self.classes)


class ByteNet(nn.Module):
    """[B, L] tokens or [B, L, C] vectors -> logits: sets of residual blocks of dilation 1, 2, 4, 8, 16, and their mean.

    A block normalises each position by itself and narrows 2 d channels to d, reads with a causal convolution of d
    filters, and widens to 2 d again (figure 3, left). blocks: how many of the five dilations each set has.
    """

    classes: int | None
    blocks: tuple[int, ...]
    features: int
    width: int = 3
    vocabulary: int | None = None
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mixed: Mixed = None) -> Output:
        wide = 2 * self.features
        x, real = read(x, table(self.vocabulary, wide, model="ByteNet"), model="ByteNet", dtype=self.dtype, mixed=mixed)
        features = {"stem": (x := kept(self.conv(wide, (1,), dtype=self.dtype, name="stem_conv")(x), real))}
        for number, count in enumerate(self.blocks, 1):
            for block in range(1, count + 1):
                x = x + self._branch(x, real, f"set{number}_block{block}", 2 ** (block - 1))
            features[f"set{number}"] = x
        features["pooled"] = x = mean(self.act(x), real)
        return classified(x, features, self.classes)

    def _branch(self, x: jax.Array, real: Real, name: str, dilation: int) -> jax.Array:
        settings = ((self.features, 1, 1), (self.features, self.width, dilation), (2 * self.features, 1, 1))
        for number, (filters, width, step) in enumerate(settings, 1):
            x = self.act(nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=f"{name}_norm{number}")(x))
            conv = self.conv(
                filters,
                (width,),
                padding=causal(width, step),
                dilation=step,
                dtype=self.dtype,
                name=f"{name}_conv{number}",
            )
            x = kept(conv(kept(x, real)), real)
        return x


tcn_smnist = Variant(
    build=partial(TCN, levels=(25,) * 8, width=7),
    input_shape=(784, 1),
    classes=10,
    params=66_910,
    macs=51_607_050,
    source="Bai et al. 2018, arXiv:1803.01271, table 1 (sequential MNIST)",
)
bytenet = Variant(
    build=partial(ByteNet, blocks=(5, 5, 5), features=128),
    input_shape=(256, 256),
    classes=4,
    params=1_810_180,
    macs=457_180_160,
    source="Kalchbrenner et al. 2016, arXiv:1610.10099, figure 3, d of this project's choice",
)
