"""PANNs: networks for tagging sounds (Kong et al. 2020, arXiv:1912.10211): Cnn6, Cnn10, Cnn14 and their MobileNetV1.

They read 1,001 frames of 64 mel bands in decibels: ten seconds at 32 kHz, in windows of 1,024 samples every 320. The
published networks end in a sigmoid; these return logits, of which the task makes probabilities.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Features, Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, require_size, widened
from cnn_jax.models.variant import Hearing, Variant
from cnn_jax.ops.pooling import avg_pool
from cnn_jax.ops.spectrogram import log_mel

xavier = nn.initializers.xavier_uniform()


class PANN(nn.Module):
    """[B, T, F, C] -> logits; stage i has `blocks[i]` convolutions of `features[i]` channels, then a 2x2 mean.

    kernel: of the convolutions. The sixth stage, where there is one, is not made smaller.
    """

    tags = True  # what they were published for: logits of labels of which several may apply

    classes: int | None
    features: tuple[int, ...]
    blocks: tuple[int, ...]
    kernel: int = 3
    hidden: int = 2048
    dropout: float = 0.2
    head_dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        pooled = min(len(self.blocks), 5)
        require_size(x, rank=2, smallest=2**pooled, model="PANN")
        conv = partial(self.conv, use_bias=False, kernel_init=xavier, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = norm_of_bins(x, norm(name="input_norm"), train=train)
        features = {}
        for stage, (width, count) in enumerate(zip(self.features, self.blocks, strict=True), 1):
            for i in range(1, count + 1):
                x = conv(width, (self.kernel,) * 2, name=f"stage{stage}_conv{i}")(x)
                x = self.act(norm(name=f"stage{stage}_norm{i}")(x, train=train))
            features[f"stage{stage}"] = x = avg_pool(x, 2) if stage <= pooled else x
            x = Dropout(self.dropout, name=f"dropout{stage}")(x, train=train)
        return tagged(x, features, self, train=train)


class TaggingMobileNet(nn.Module):
    """MobileNetV1 in which a mean before the norm takes the place of each stride; stage i has `blocks[i]` blocks."""

    tags = True

    classes: int | None
    blocks: tuple[int, ...] = (1, 2, 2, 6, 2)
    hidden: int = 1024
    head_dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=32, model="TaggingMobileNet")
        conv = partial(self.conv, use_bias=False, kernel_init=xavier, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = norm_of_bins(x, norm(name="input_norm"), train=train)
        x = avg_pool(conv(32, (3, 3), name="stem_conv")(x), 2)
        features = {"stem": (x := self.act(norm(name="stem_norm")(x, train=train)))}
        for stage, count in enumerate(self.blocks, 1):
            for i in range(1, count + 1):
                block, channels = f"stage{stage}_block{i}", x.shape[-1]
                x = conv(channels, (3, 3), groups=channels, name=f"{block}_depthwise")(x)
                x = avg_pool(x, 2) if i == 1 and stage > 1 else x
                x = self.act(norm(name=f"{block}_norm1")(x, train=train))
                x = conv(32 * 2**stage, (1, 1), name=f"{block}_pointwise")(x)
                x = self.act(norm(name=f"{block}_norm2")(x, train=train))
            features[f"stage{stage}"] = x
        return tagged(x, features, self, train=train)


def norm_of_bins(x: jax.Array, norm: Any, *, train: bool) -> jax.Array:
    """A map [B, T, F, C] with each of its F bins normalised by itself, as if they were channels."""
    return jnp.moveaxis(norm(jnp.moveaxis(x, 2, -1), train=train), -1, 2)


def tagged(x: jax.Array, features: Features, net: PANN | TaggingMobileNet, *, train: bool) -> Output:
    """The end of both: the mean over frequency, of which maximum and mean over time, and a hidden layer."""
    x = widened(x).mean(2)
    features["pooled"] = x = x.max(1) + x.mean(1)
    if net.classes is None:
        return features
    x = Dropout(net.head_dropout, name="dropout_pooled")(x, train=train)
    x = net.act(nn.Dense(net.hidden, kernel_init=xavier, dtype=net.dtype, name="hidden")(x))
    x = Dropout(net.head_dropout, name="dropout_hidden")(x, train=train)
    return classified(x, features, net.classes, kernel_init=xavier)


_front = partial(
    log_mel, rate=32_000, convention="librosa", window=1024, hop=320, mels=64, low=50, high=14_000, edges="reflect"
)
_audioset = partial(
    Variant,
    input_shape=(1001, 64, 1),
    classes=527,
    source="Kong et al. 2020, arXiv:1912.10211, table I",
    preprocessing=Hearing(rate=32_000, seconds=10.0, front=_front),
)
_narrow = (64, 128, 256, 512)

cnn6 = _audioset(
    build=partial(PANN, features=_narrow, blocks=(1,) * 4, kernel=5, hidden=512),
    params=4_837_455,
    macs=9_933_434_368,
    reference="panns:cnn6",
)
cnn10 = _audioset(
    build=partial(PANN, features=_narrow, blocks=(2,) * 4, hidden=512),
    params=5_219_279,
    macs=13_015_920_128,
    reference="panns:cnn10",
)
cnn14 = _audioset(
    build=partial(PANN, features=(*_narrow, 1024, 2048), blocks=(2,) * 6),
    params=80_753_615,
    macs=20_041_926_656,
    reference="panns:cnn14",
)
panns_mobilenet_v1 = _audioset(
    build=partial(TaggingMobileNet), params=4_796_303, macs=739_572_736, reference="panns:panns_mobilenet_v1"
)
