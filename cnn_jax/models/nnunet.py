"""nnU-Net's network for 2-D images (Isensee et al. 2021, "nnU-Net: a self-configuring method", Nature Methods 18, 203).

As version 2 builds it (`PlainConvUNet`): strided convolutions instead of pooling, InstanceNorm, leaky rectifiers, and
logits on every level of the way up, which are trained too. How deep it is, is for the data to say: the bottom has about
4 pixels on each side.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Layer, require_size
from cnn_jax.models.norms import InstanceNorm
from cnn_jax.models.segmenter import LOGITS
from cnn_jax.models.unet import DoubleConv, UpConv, he_fan_in
from cnn_jax.models.variant import Variant


class NNUNet(nn.Module):
    """[B, H, W, C] -> logits [B, H, W, classes], of images of any size.

    Level i of `levels` has min(`features` x 2^i, `most`) channels. Features are those of UNet, and "logits2" of stride
    2, "logits3" of stride 4 and so on, one for each level of the way up. They are trained with half the weight of the
    ones before them, the weights adding up to 1; the smallest are not trained unless they are the only ones, but are
    there, as in the authors' files. An odd size is rounded up on the way down, and cut off again on the way up.
    """

    classes: int | None
    levels: int = 8
    features: int = 32
    most: int = 512
    conv: Layer = Conv
    norm: Layer = InstanceNorm
    up: Layer = UpConv
    act: Activation = nn.leaky_relu  # of slope 0.01
    dtype: Any = jnp.float32

    def loss_weights(self) -> dict[str, float]:
        names = [LOGITS, *(f"{LOGITS}{level}" for level in range(2, max(self.levels - 1, 2)))]
        total = sum(2.0**-i for i in range(len(names)))
        return {name: 2.0**-i / total for i, name in enumerate(names)}

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Output:
        require_size(x, rank=2, smallest=1, model="NNUNet")
        conv = partial(self.conv, kernel_init=he_fan_in, dtype=self.dtype)
        double = partial(DoubleConv, conv=conv, norm=partial(self.norm, dtype=self.dtype), act=self.act)
        widths = [min(self.features * 2**i, self.most) for i in range(self.levels)]
        head = partial(conv, kernel_size=(1, 1), dtype=None)
        features: dict[str, jax.Array] = {}
        for level, width in enumerate(widths, 1):
            strides = 1 if level == 1 else 2
            features[f"stage{level}"] = x = double(width, strides=strides, name=f"stage{level}")(x, train=train)
        for level in range(self.levels - 1, 0, -1):
            down = features[f"stage{level}"]
            x = self.up(down.shape[-1], dtype=self.dtype, name=f"up{level}_conv")(x)
            x = jnp.concatenate([x[:, : down.shape[1], : down.shape[2]], down], -1)
            features[f"up{level}"] = x = double(down.shape[-1], name=f"up{level}")(x, train=train)
            if level > 1 and self.classes is not None:
                features[f"{LOGITS}{level}"] = head(self.classes, name=f"classifier{level}")(x)
        return classified(x, features, self.classes, layer=head)


nnunet = Variant(
    build=partial(NNUNet),
    input_shape=(512, 512, 1),
    classes=2,
    params=46_324_558,
    macs=59_608_727_552,
    source="Isensee et al. 2021, nnU-Net version 2: PlainConvUNet for 512x512 pixels of one channel",
)
