"""Segmentation by the network of a classifier: a head that reads its maps, and a class for each place of what it makes.

Long, Shelhamer & Darrell 2015, arXiv:1411.4038, section 3. The logits of the places are resized to those of all pixels,
so that images may have any size.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.conv_norm import ConvNorm
from cnn_jax.models.heads import Features, Output, features_of
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dropout, Layer, require_size
from cnn_jax.models.necks import by_stride
from cnn_jax.models.output_stride import OUTPUT_STRIDES
from cnn_jax.models.resnet import resnet50
from cnn_jax.models.segmenter import LOGITS
from cnn_jax.ops.chunks import pad_spatial
from cnn_jax.ops.resize import resize

AUX = "aux"  # the feature, and the auxiliary head
Place = int | str  # of a map among features: a stride, for the deepest map of that stride, or its name

class_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's, of layers that give logits


class FCNHead(nn.Module):
    """[B, h, w, C] -> [B, h, w, features]: a 3x3 convolution with norm and activation, and dropout.

    features: by default a quarter of what it reads.
    """

    features: int | None = None
    dropout: float = 0.1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], *, train: bool) -> jax.Array:
        x = maps[-1]
        features = self.features or x.shape[-1] // 4
        x = ConvNorm(features, (3, 3), self.conv, self.norm, self.act, name="conv")(x, train=train)
        return Dropout(self.dropout, name="dropout")(x, train=train)


class EncoderDecoder(nn.Module):
    """[B, H, W, C] -> logits [B, H, W, classes]; features are the maps of the backbone, "head" and perhaps "aux".

    backbone: called with classes=None. output_stride: the largest stride of its maps, by dilation; 32: as it is.
    multiple: of which the sides are that it reads: zeros are added below and to the right, and logits cut off again.
    With 1 it reads images as they are, and what has no padding itself, as ConvNeXt, leaves out a part of the border.
    head: makes one map of a list of maps, finest first: those of the backbone at `finer`, and its last one.
    aux: the map of which an auxiliary head makes logits, too, the feature "aux" (Zhao et al. 2017, arXiv:1612.01105,
    section 3.3); None: there is none. aux_weight: what they count in the loss. aux_head: what makes them.
    norm: of everything; None: of the backbone its own, of the rest BatchNorm.
    """

    classes: int | None
    backbone: Layer = resnet50
    output_stride: int = 8
    multiple: int = 32
    head: Layer = FCNHead
    finer: tuple[Place, ...] = ()
    aux: Place | None = None
    aux_head: Layer = FCNHead
    aux_weight: float = 0.5
    norm: Layer | None = None
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    def loss_weights(self) -> dict[str, float]:
        return {LOGITS: 1.0} | ({AUX: self.aux_weight} if self.aux is not None else {})

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        places = (*self.finer, *([] if self.aux is None else [self.aux]))
        features, maps, to_pixels = encoded(self, x, places, train=train)
        layers = dict(
            conv=partial(self.conv, use_bias=False, dtype=self.dtype),
            norm=partial(self.norm or BatchNorm, dtype=self.dtype),
            act=self.act,
        )
        last = list(features.values())[-1]
        features["head"] = self.head(name="head", **layers)([*maps[: len(self.finer)], last], train=train)
        if self.classes is None:
            return features
        classifier = partial(self.conv, self.classes, (1, 1), kernel_init=class_init)
        if self.aux is not None:
            y = self.aux_head(name=AUX, **layers)(maps[-1:], train=train)
            features[AUX] = to_pixels(classifier(name="aux_classifier")(y))
        return to_pixels(classifier(name="classifier")(features["head"])), features


class Encoded(NamedTuple):
    """features: the maps of a backbone by name. maps: those at the places that were asked for.

    to_pixels: resizes logits [B, h, w, K] of an image to those of its pixels.
    """

    features: Features
    maps: list[jax.Array]
    to_pixels: Callable[[jax.Array], jax.Array]


def encoded(net: Any, x: jax.Array, places: Sequence[Place], *, train: bool) -> Encoded:
    """What the backbone of a network, as a module of it, makes of images [B, H, W, C], and the maps at `places`.

    net: with the fields of EncoderDecoder that are called alike.
    """
    require_size(x, rank=2, smallest=1, model=type(net).__name__)
    size = x.shape[1:3]
    padded = [-(-length // net.multiple) * net.multiple for length in size]
    x = pad_spatial(x, [(0, more - length) for more, length in zip(padded, size, strict=True)])
    fields: dict[str, Any] = {"norm": net.norm} if net.norm else {}
    if net.output_stride < max(OUTPUT_STRIDES):
        fields["output_stride"] = net.output_stride
    try:
        backbone = net.backbone(classes=None, dtype=net.dtype, name="backbone", **fields)
    except ValueError as error:
        if "output_stride" not in str(error):
            raise
        raise ValueError(f"{error}; output_stride=32 takes the backbone as it is") from None
    features = {name: y for name, y in features_of(backbone(x, train=train)).items() if y.ndim == x.ndim}
    # of sides that are no multiples the sizes of maps do not say their strides
    strides = by_stride(features, x) if net.multiple % max(OUTPUT_STRIDES) == 0 else {}
    known: dict[Any, jax.Array] = {**features, **strides}
    if missing := [place for place in places if place not in known]:
        by_number = f"and by stride {', '.join(map(str, sorted(strides)))}" if strides else "by stride with multiple=32"
        raise ValueError(f"the backbone has no map {missing[0]!r}: it has {', '.join(features)}, {by_number}")

    def to_pixels(logits: jax.Array) -> jax.Array:
        return resize(logits, padded)[:, : size[0], : size[1]]

    return Encoded(features, [known[place] for place in places], to_pixels)
