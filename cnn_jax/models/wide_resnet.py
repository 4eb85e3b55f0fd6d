"""Wide residual networks WRN-d-k (Zagoruyko & Komodakis 2016, arXiv:1605.07146): depth 6n + 4, k times as wide."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool
from cnn_jax.models.variant import Variant


class WideBlock(nn.Module):
    """Pre-activation block B(3,3) with dropout between the convolutions (figure 1d).

    Where the shape changes, the 1x1 shortcut reads the activated input, as in the authors' code; elsewhere the
    identity carries the input untouched.
    """

    features: int
    strides: int
    dropout: float
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.act(self.norm(name="norm1")(x, train=train))
        if self.strides > 1 or x.shape[-1] != self.features:
            x = self.conv(self.features, (1, 1), self.strides, name="shortcut_conv")(y)
        y = self.conv(self.features, (3, 3), self.strides, name="conv1")(y)
        y = self.act(self.norm(name="norm2")(y, train=train))
        y = Dropout(self.dropout, name="dropout")(y, train=train)
        return x + self.conv(self.features, (3, 3), name="conv2")(y)


class WideResNet(nn.Module):
    """[B, H, W, C] -> logits. Raises ValueError unless `depth` is 6n + 4."""

    classes: int | None
    depth: int
    width: int
    dropout: float = 0.0
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth {self.depth} is not 6n + 4: a wide ResNet has depth 10, 16, 22, 28, 34, 40, ...")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        features = {"stem": (x := conv(16, (3, 3), name="stem_conv")(x))}
        for stage in range(3):
            for i in range((self.depth - 4) // 6):
                x = WideBlock(
                    features=16 * self.width * 2**stage,
                    strides=2 if stage > 0 and i == 0 else 1,
                    dropout=self.dropout,
                    conv=conv,
                    norm=norm,
                    act=self.act,
                    name=f"stage{stage + 1}_block{i + 1}",
                )(x, train=train)
            features[f"stage{stage + 1}"] = x
        # the last map is activated: the sum of a pre-activation block is not
        features["stage3"] = x = self.act(norm(name="norm")(x, train=train))
        features["pooled"] = x = global_average_pool(x)
        return classified(x, features, self.classes)


_cifar = partial(
    Variant, input_shape=(32, 32, 3), classes=10, source="Zagoruyko & Komodakis 2016, arXiv:1605.07146, table 1"
)

wrn_16_4 = _cifar(build=partial(WideResNet, depth=16, width=4), params=2_748_890, macs=392_612_352)
wrn_16_8 = _cifar(build=partial(WideResNet, depth=16, width=8), params=10_961_370, macs=1_548_145_664)
wrn_28_2 = _cifar(build=partial(WideResNet, depth=28, width=2), params=1_467_610, macs=214_353_152)
wrn_28_10 = _cifar(build=partial(WideResNet, depth=28, width=10), params=36_479_194, macs=5_243_328_768)
wrn_40_2 = _cifar(build=partial(WideResNet, depth=40, width=2), params=2_243_546, macs=327_599_360)
wrn_40_4 = _cifar(build=partial(WideResNet, depth=40, width=4), params=8_949_210, macs=1_298_582_016)
