"""Networks on raw waveforms (Dai, Dai, Qu, Li & Das 2016, arXiv:1610.00087, table 1): M3, M5, M11, M18 and M34-res."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool

POOLED_STAGES = 3  # with the stem's, no network of the table pools more than four times


class ResidualBlock(nn.Module):
    """Two convolutions of width 3 around which the signal is added, with zeros for the channels that it lacks."""

    features: int
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.act(self.norm(name="norm1")(self.conv(self.features, (3,), name="conv1")(x), train=train))
        y = self.norm(name="norm2")(self.conv(self.features, (3,), name="conv2")(y), train=train)
        return self.act(y + jnp.pad(x, ((0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1]))))


class WaveformNet(nn.Module):
    """[B, L, C] with L >= 2 -> logits: a wide first filter, then stages of `blocks[i]` convolutions of width 3.

    residual: each of these is a block of two (figure 1b). Stage i has `features` x 2^i channels. The first filter and
    every pooling shorten the signal by 4, the last window of a pooling holding what is left, so that 32,000 samples end
    as 32 positions.
    """

    classes: int | None
    features: int
    blocks: tuple[int, ...]
    residual: bool = False
    conv: Layer = Conv
    norm: Layer = BatchNorm
    pool: Callable[..., jax.Array] = max_pool
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=1, smallest=2, model="WaveformNet")
        conv = partial(self.conv, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.act(norm(name="stem_norm")(conv(self.features, (80,), 4, name="stem_conv")(x), train=train))
        features = {"stem": (x := self.pool(x, 4, ceil_mode=True))}
        for stage, count in enumerate(self.blocks, 1):
            width = self.features * 2 ** (stage - 1)
            for i in range(1, count + 1):
                if self.residual:
                    x = ResidualBlock(width, conv, norm, self.act, name=f"stage{stage}_block{i}")(x, train=train)
                    continue
                x = conv(width, (3,), name=f"stage{stage}_conv{i}")(x)
                x = self.act(norm(name=f"stage{stage}_norm{i}")(x, train=train))
            features[f"stage{stage}"] = x = self.pool(x, 4, ceil_mode=True) if stage <= POOLED_STAGES else x
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_table_1 = partial(
    Variant, input_shape=(32_000, 1), classes=10, source="Dai et al. 2016, arXiv:1610.00087, table 1 (4 s at 8 kHz)"
)

m3 = _table_1(build=partial(WaveformNet, features=256, blocks=(1,)), params=221_194, macs=557_058_560)
m5 = _table_1(build=partial(WaveformNet, features=128, blocks=(1, 1, 1)), params=559_114, macs=278_533_120)
m11 = _table_1(build=partial(WaveformNet, features=64, blocks=(2, 2, 3, 2)), params=1_786_442, macs=226_169_856)
m18 = _table_1(build=partial(WaveformNet, features=64, blocks=(4, 4, 4, 4)), params=3_683_786, macs=399_381_504)
m34_res = _table_1(
    build=partial(WaveformNet, features=48, blocks=(3, 4, 6, 3), residual=True), params=3_978_490, macs=454_180_608
)
