"""A U-Net whose way down is any network of this package, as segmentation_models_pytorch builds its Unet."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, require_size
from cnn_jax.models.necks import by_stride, nearest
from cnn_jax.models.resnet import resnet18, resnet50
from cnn_jax.models.segmenter import LOGITS
from cnn_jax.models.unet import DoubleConv
from cnn_jax.models.variant import Variant
from cnn_jax.ops.fold import folded, unfolded


class BackboneUNet(nn.Module):
    """[B, H, W, C] -> logits [B, H, W, classes], of images of any size.

    From the deepest map of the largest stride, each of the `features` doubles the size by repeating pixels, joins the
    backbone's deepest map of that size, where it has one, and is two 3x3 convolutions with that many channels. So a
    backbone of stride 2^n has n of them. The image is padded with zeros, right and below, to a multiple of the largest
    stride, and to 32 pixels at least; the logits are cut off again.

    backbone: called with classes=None; its weights are those of the part "backbone". A ResNet has a map of stride 2
    with inner=True.
    pixels: whether the last step also joins the image itself, as sharp edges need it where the backbone has no map.
    subpixels: side of the squares of pixels that the last step stands for. At 2 there is one step less; the image is
    joined, and the logits are made, as channels of half the size (ops/fold.py), for a quarter of the work.
    norm: of the way up.
    """

    classes: int | None
    backbone: Layer = partial(resnet18, inner=True)
    features: tuple[int, ...] = (256, 128, 64, 32, 16)
    pixels: bool = False
    subpixels: int = 1
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    def loss_weights(self) -> dict[str, float]:
        return {LOGITS: 1.0}

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="BackboneUNet")
        size, stride = x.shape[1:3], self.subpixels * 2 ** len(self.features)
        x = jnp.pad(x, [(0, 0), *((0, max(-length % stride, 32 - length)) for length in size), (0, 0)])
        features = self.backbone(classes=None, dtype=self.dtype, name="backbone")(x, train=train)
        maps = by_stride(features, x)
        if max(maps) != stride:
            raise ValueError(
                f"features {self.features}: their {len(self.features)} steps enlarge a map of stride {stride}, but "
                f"the backbone's strides are {', '.join(map(str, sorted(maps)))}"
            )
        conv = partial(self.conv, dtype=self.dtype)
        double = partial(
            DoubleConv, conv=partial(conv, use_bias=False), norm=partial(self.norm, dtype=self.dtype), act=self.act
        )
        y = maps[stride]
        for width in self.features:
            stride //= 2
            y = nearest(y, (-(-x.shape[1] // stride), -(-x.shape[2] // stride)))
            joined = [maps[stride]] if stride in maps else []
            if self.pixels and stride == self.subpixels:
                joined.append(folded(x.astype(self.dtype), stride))
            y = jnp.concatenate([y, *joined], -1)
            features[f"up{stride}"] = y = double(width, name=f"up{stride}")(y, train=train)
        if self.classes is None:
            return features
        logits = conv(self.classes * self.subpixels**2, (3, 3), dtype=None, name="classifier")(y)
        return unfolded(logits, self.subpixels)[:, : size[0], : size[1]], features


unet_resnet18 = Variant(
    build=partial(BackboneUNet),
    input_shape=(256, 256, 3),
    classes=2,
    params=14_328_354,
    macs=5_407_506_432,
    source="He et al. 2015, arXiv:1512.03385, with the way up of segmentation_models_pytorch's Unet",
)
unet_resnet50 = Variant(
    build=partial(BackboneUNet, backbone=partial(resnet50, inner=True)),
    input_shape=(256, 256, 3),
    classes=2,
    params=32_521_250,
    macs=10_641_997_824,
    source="the same with ResNet-50",
)
