"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842) with batch normalisation, without auxiliary classifiers.

As in the published weights, 3x3 convolutions stand where the paper has 5x5, and the last pooling is 2x2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Preprocessing, Variant
from cnn_jax.ops.pooling import max_pool

Kernels = tuple[tuple[int, int], ...]
Branch = tuple[tuple[int, Kernels], ...]  # layers in turn: features, and the kernels that make as many each, joined
ONE: Kernels = ((1, 1),)
THREE: Kernels = ((3, 3),)

# The columns #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5 and pool proj of the paper's table 1, stage by stage.
TABLE_1 = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


class Mixed(nn.Module):
    """Branches of convolutions beside one of pooling, joined along the channels (figure 2b).

    A 1x1 convolution to `projection` channels follows the pooling. Without it the module halves the size: the last
    layer of each branch has stride 2 and no padding, and `pool` must do the same.
    """

    branches: tuple[Branch, ...]
    pool: Callable[[jax.Array], jax.Array]
    projection: int | None
    conv: Layer
    norm: Layer
    act: Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        layer = partial(ConvNorm, conv=self.conv, norm=self.norm, act=self.act)
        maps = []
        for i, branch in enumerate(self.branches, 1):
            y = x
            for j, (width, kernels) in enumerate(branch, 1):
                strides, padding = (2, 0) if self.projection is None and j == len(branch) else (1, None)
                names = [f"branch{i}_{j}{letter}" for letter in ("ab" if len(kernels) > 1 else ("",))]
                side_by_side = [
                    layer(width, kernel, strides=strides, padding=padding, name=name)(y, train=train)
                    for kernel, name in zip(kernels, names, strict=True)
                ]
                y = jnp.concatenate(side_by_side, -1)
            maps.append(y)
        y = self.pool(x)
        if self.projection is not None:
            y = layer(self.projection, (1, 1), name=f"branch{len(maps) + 1}_1")(y, train=train)
        return jnp.concatenate([*maps, y], -1)


class GoogLeNet(nn.Module):
    """[B, H, W, C] with H, W >= 15 -> logits; each stage is a pooling of stride 2 and modules of `stages`' widths.

    The poolings of stride 2 cover their last row and column even where the window sticks out.
    """

    classes: int | None
    stages: tuple[tuple[tuple[int, int, int, int, int, int], ...], ...] = TABLE_1
    dropout: float = 0.4
    conv: Layer = Conv
    norm: Layer = partial(BatchNorm, epsilon=1e-3)
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=15, model="GoogLeNet")
        parts: dict[str, Any] = dict(
            conv=partial(self.conv, use_bias=False, dtype=self.dtype),
            norm=partial(self.norm, dtype=self.dtype),
            act=self.act,
        )
        around = partial(max_pool, window=3, strides=1, padding=1)
        x = ConvNorm(64, (7, 7), strides=2, **parts, name="stem_conv1")(x, train=train)
        x = max_pool(x, 3, 2, ceil_mode=True)
        x = ConvNorm(64, (1, 1), **parts, name="stem_conv2")(x, train=train)
        x = ConvNorm(192, (3, 3), **parts, name="stem_conv3")(x, train=train)
        features = {"stem": x}
        for stage, modules in enumerate(self.stages, 1):
            x = max_pool(x, 2 if stage == 3 else 3, 2, ceil_mode=True)
            for i, (one, reduce3, three, reduce5, five, projection) in enumerate(modules, 1):
                branches = (((one, ONE),), ((reduce3, ONE), (three, THREE)), ((reduce5, ONE), (five, THREE)))
                x = Mixed(branches, around, projection, **parts, name=f"stage{stage}_block{i}")(x, train=train)
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)


googlenet = Variant(
    build=partial(GoogLeNet),
    input_shape=(224, 224, 3),
    classes=1000,
    params=6_624_904,
    macs=1_498_376_192,
    source="Szegedy et al. 2014, arXiv:1409.4842, table 1, as released by torchvision",
    reference="torchvision:googlenet",
    # torchvision normalises as for its other networks, and the network itself then brings that to this
    preprocessing=Preprocessing(224, crop=224 / 256, mean=(0.5,) * 3, std=(0.5,) * 3),
)
