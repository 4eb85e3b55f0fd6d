"""Res2Net (Gao et al. 2019, arXiv:1904.01169): a residual block whose 3x3 convolutions form a hierarchy of scales."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.layers import Activation, Layer
from cnn_jax.models.resnet import Downsample, ResNet, Shortcut
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import avg_pool


class Res2NetBlock(nn.Module):
    """Bottleneck whose 3x3 convolution is `scales` groups of channels in a chain (figure 2b, equation 1).

    All groups but the last are convolved, each after adding the result of the one before; the last is passed on.
    Where the shape changes there is no adding, and the last group is averaged over 3x3 positions, as in the authors'
    code. width: of each group, for 64 features; it grows with them. Further fields as those of `resnet.BasicBlock`.
    """

    features: int
    strides: int
    shortcut: Shortcut
    conv: Layer
    norm: Layer
    act: Activation
    scales: int = 4
    width: int = 26
    downsample: Downsample | None = None
    last_norm: Layer | None = None
    branch: Activation | None = None
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        group = self.features * self.width // 64
        changes = self.strides > 1 or x.shape[-1] != 4 * self.features
        y = self.conv(self.scales * group, (1, 1), name="conv1")(x)
        *parts, rest = jnp.split(self.act(self.norm(name="norm1")(y, train=train)), self.scales, axis=-1)
        strides = 1 if self.downsample else self.strides
        scales: list[jax.Array] = []
        for i, part in enumerate(parts, start=1):
            y = part if changes or not scales else scales[-1] + part
            y = self.conv(group, (3, 3), strides, dilation=self.dilations[0], name=f"conv2_{i}")(y)
            y = self.act(self.norm(name=f"norm2_{i}")(y, train=train))
            scales.append(self.downsample(y, self.strides) if self.downsample else y)
        scales.append(avg_pool(rest, 3, self.strides, padding=1) if changes else rest)
        y = self.conv(4 * self.features, (1, 1), name="conv3")(jnp.concatenate(scales, -1))
        y = (self.last_norm or self.norm)(name="norm3")(y, train=train)
        y = self.branch(y) if self.branch else y
        return self.act(y + self.shortcut(x, y.shape[-1], self.strides, conv=self.conv, norm=self.norm, train=train))


res2net50_26w_4s = Variant(
    build=partial(ResNet, blocks=(3, 4, 6, 3), block=Res2NetBlock),
    input_shape=(224, 224, 3),
    classes=1000,
    params=25_699_120,
    macs=4_255_166_464,
    source="Gao et al. 2019, arXiv:1904.01169, table 3",
    reference="timm:res2net50_26w_4s",
)
