"""Inception-v3 (Szegedy et al. 2015, arXiv:1512.00567) as its authors released it, without the auxiliary classifier."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.googlenet import ONE, THREE, Branch, Kernels, Mixed
from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, global_average_pool, require_size
from cnn_jax.models.variant import Preprocessing, Variant
from cnn_jax.ops.pooling import avg_pool, max_pool

FIVE: Kernels = ((5, 5),)
ROW: Kernels = ((1, 7),)
COLUMN: Kernels = ((7, 1),)
SPLIT: Kernels = ((1, 3), (3, 1))

Layout = tuple[tuple[Branch, ...], int | None]  # branches, and channels of the projection after the pooling


def _figure_5(projection: int) -> Layout:
    return (((64, ONE),), ((48, ONE), (64, FIVE)), ((64, ONE), (96, THREE), (96, THREE))), projection


def _figure_6(width: int) -> Layout:
    """7x7 convolutions factorised into rows and columns; one in the second branch, two in the third."""
    once = ((width, ONE), (width, ROW), (192, COLUMN))
    twice = ((width, ONE), (width, COLUMN), (width, ROW), (width, COLUMN), (192, ROW))
    return (((192, ONE),), once, twice), 192


_figure_7: Layout = ((((320, ONE),), ((384, ONE), (384, SPLIT)), ((448, ONE), (384, THREE), (384, SPLIT))), 192)
# the two that halve the size, figure 10
_to_stage_2: Layout = ((((384, THREE),), ((64, ONE), (96, THREE), (96, THREE))), None)
_to_stage_3: Layout = ((((192, ONE), (320, THREE)), ((192, ONE), (192, ROW), (192, COLUMN), (192, THREE))), None)

# table 1, with the widths of the release
STAGES = (
    (_figure_5(32), _figure_5(64), _figure_5(64)),
    (_to_stage_2, _figure_6(128), _figure_6(160), _figure_6(160), _figure_6(192)),
    (_to_stage_3, _figure_7, _figure_7),
)


class InceptionV3(nn.Module):
    """[B, H, W, C] with H, W >= 75 -> logits. Neither the stem nor what halves the size is padded."""

    classes: int | None
    stages: tuple[tuple[Layout, ...], ...] = STAGES
    dropout: float = 0.5
    conv: Layer = Conv
    norm: Layer = partial(BatchNorm, epsilon=1e-3)
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=75, model="Inception-v3")
        parts: dict[str, Any] = dict(
            conv=partial(self.conv, use_bias=False, dtype=self.dtype),
            norm=partial(self.norm, dtype=self.dtype),
            act=self.act,
        )
        around = partial(avg_pool, window=3, strides=1, padding=1)
        halve = partial(max_pool, window=3, strides=2)
        x = ConvNorm(32, (3, 3), strides=2, padding=0, **parts, name="stem_conv1")(x, train=train)
        x = ConvNorm(32, (3, 3), padding=0, **parts, name="stem_conv2")(x, train=train)
        x = halve(ConvNorm(64, (3, 3), **parts, name="stem_conv3")(x, train=train))
        x = ConvNorm(80, (1, 1), **parts, name="stem_conv4")(x, train=train)
        x = ConvNorm(192, (3, 3), padding=0, **parts, name="stem_conv5")(x, train=train)
        features = {"stem": x}
        x = halve(x)
        for stage, modules in enumerate(self.stages, 1):
            for i, (branches, projection) in enumerate(modules, 1):
                pool = halve if projection is None else around
                x = Mixed(branches, pool, projection, **parts, name=f"stage{stage}_block{i}")(x, train=train)
            features[f"stage{stage}"] = x
        features["pooled"] = x = global_average_pool(x)
        if self.classes is None:
            return features
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        return classified(x, features, self.classes)


inception_v3 = Variant(
    build=partial(InceptionV3),
    input_shape=(299, 299, 3),
    classes=1000,
    params=23_834_568,
    macs=5_713_216_096,
    source="Szegedy et al. 2015, arXiv:1512.00567, table 1, as released by its authors and torchvision",
    reference="torchvision:inception_v3",
    preprocessing=Preprocessing(299, crop=299 / 342, mean=(0.5,) * 3, std=(0.5,) * 3),  # as of GoogLeNet
)
