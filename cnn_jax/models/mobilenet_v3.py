"""MobileNetV3 (Howard et al. 2019, arXiv:1905.02244), small and large."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.attention import SqueezeExcite
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.inverted_residual import InvertedResidual, round_channels
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.output_stride import dilated
from cnn_jax.models.variant import Preprocessing, Variant


class Row(NamedTuple):
    """One block, with the columns of tables 1 and 2: `hard` is HS (hard swish) in place of RE (ReLU)."""

    kernel: int
    expanded: int
    features: int
    squeeze: bool
    hard: bool
    strides: int


TABLE_1 = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)
TABLE_2 = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)


class MobileNetV3(nn.Module):
    """[B, H, W, C] -> logits; `hidden` is the width of the layer between pooling and classifier.

    Feature maps are those at the end of each resolution, called after their block: "block3" is the output of row 3.
    The 1x1 convolution behind the blocks counts as one more.

    output_stride: the largest stride of a map, 8, 16 or 32 (`output_stride.dilated`). A block that gives up its stride
    is itself dilated like those behind it, as in the segmentation networks whose weights torchvision publishes.
    inner: whether there are features from within the resolutions, too: what each block with a stride makes ("block4"),
    and "expansion", what the last of these expands its input to.
    """

    classes: int | None
    rows: tuple[Row, ...]
    hidden: int
    dropout: float = 0.2
    output_stride: int = 32
    inner: bool = False
    conv: Layer = Conv
    norm: Layer = partial(BatchNorm, epsilon=1e-3, momentum=0.99)
    act: Activation = nn.relu
    hard_act: Activation = nn.hard_swish
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="MobileNetV3")
        conv = partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype)
        x = self.hard_act(norm(name="stem_norm")(conv(16, (3, 3), 2, name="stem_conv")(x), train=train))
        features = {"stem": x}
        _, *samplings = dilated([2, *(row.strides for row in self.rows)], self.output_stride)
        last_stride = max(i for i, row in enumerate(self.rows, 1) if row.strides > 1)
        for i, (row, sampling) in enumerate(zip(self.rows, samplings, strict=True), 1):
            block = InvertedResidual(
                features=row.features,
                kernel=row.kernel,
                strides=sampling.strides,
                dilation=sampling.after,
                shortcut=row.strides == 1,  # whatever has become of the stride
                expanded=row.expanded,
                conv=conv,
                norm=norm,
                act=self.hard_act if row.hard else self.act,
                squeeze=self._squeeze(row.expanded) if row.squeeze else None,
                name=f"block{i}_squeezed" if row.squeeze else f"block{i}",
            )
            if self.inner and i == last_stride:
                x, features["expansion"] = block.with_expansion(x, train=train)
            else:
                x = block(x, train=train)
            if i == len(self.rows) or self.rows[i].strides > 1 or (self.inner and row.strides > 1):
                features[f"block{i}"] = x
        last = f"block{len(self.rows) + 1}"
        x = self.hard_act(norm(name=f"{last}_norm")(conv(6 * x.shape[-1], (1, 1), name=f"{last}_conv")(x), train=train))
        features[last] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = self.hard_act(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)

    def _squeeze(self, channels: int) -> Layer:
        return partial(
            SqueezeExcite,
            reduced=round_channels(channels // 4),
            gate=nn.hard_sigmoid,
            conv=self.conv,
            dtype=self.dtype,
        )


_imagenet = partial(Variant, input_shape=(224, 224, 3), classes=1000)

mobilenet_v3_small = _imagenet(
    build=partial(MobileNetV3, rows=TABLE_2, hidden=1024),
    params=2_542_856,
    macs=56_510_400,
    source="Howard et al. 2019, arXiv:1905.02244, table 2",
    reference="torchvision:mobilenet_v3_small",
    preprocessing=Preprocessing(size=224, crop=224 / 256),
)
mobilenet_v3_large = _imagenet(
    build=partial(MobileNetV3, rows=TABLE_1, hidden=1280),
    params=5_483_032,
    macs=216_589_760,
    source="Howard et al. 2019, arXiv:1905.02244, table 1",
    reference="torchvision:mobilenet_v3_large",
    preprocessing=Preprocessing(size=224, crop=224 / 232),
)

# Their names in timm.
mobilenetv3_small_100, mobilenetv3_large_100 = mobilenet_v3_small, mobilenet_v3_large
