"""StarDist (Schmidt, Weigert, Broaddus & Myers 2018, arXiv:1806.03535): objects as star-convex polygons, for cells.

Every pixel says how central it is in an object, and how far the object's border is along rays to all sides. A pixel
that is surer than its neighbours stands for an object. What stands for the same one is sorted out by
`ops.polygons.distinct`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import features_of
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer
from cnn_jax.models.unet import UNet, he_fan_in
from cnn_jax.models.variant import Variant
from cnn_jax.ops.detection_losses import cross_entropy
from cnn_jax.ops.fold import folded
from cnn_jax.ops.rays import centrality, ray_lengths

REACH = 8.0  # pixels: the unit in which the network says lengths
NEIGHBOURS = 3  # side of the square in which a candidate has no surer one


class Shapes(NamedTuple):
    """What the network says of every `stride`-th pixel.

    logits: [B, h, w] of the centrality. lengths: [B, h, w, R] of rays, in pixels.
    """

    logits: jax.Array
    lengths: jax.Array


class Outlines(NamedTuple):
    """Of each image the K surest candidates, in order of falling scores; those of score 0 are none.

    scores: [B, K]. centres: [B, K, 2] x, y in pixels. lengths: [B, K, R] of rays, in pixels.
    found: [B] int32, how many there are, of which K are kept at most.
    """

    scores: jax.Array
    centres: jax.Array
    lengths: jax.Array
    found: jax.Array


class StarConvex(nn.Module):
    """Images [B, H, W, C] of any size -> Shapes.

    classes: of the objects, which are told apart, but not named.
    backbone: builds a network whose last feature map has the size of what it reads, called with classes=None.
    rays: of each pixel. stride: pixels of a side of the squares that the backbone reads as one, their values as
      channels: it has a quarter of the work to do at 2, and polygons are as fine as without.
    width: channels between the backbone and what is said.
    lengths_weight: of the loss of lengths, in pixels, beside that of centrality; StarDist's code has 0.2.
    score, most: a candidate has at least this score; and an image at most so many.
    """

    classes: int
    backbone: Layer = partial(UNet, features=16, levels=4)
    rays: int = 32
    stride: int = 2
    width: int = 64
    lengths_weight: float = 1.0
    score: float = 0.5
    most: int = 512
    conv: Layer = Conv
    norm: Layer = BatchNorm
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Shapes:
        x = folded(x, self.stride)
        backbone = self.backbone(classes=None, dtype=self.dtype, name="backbone")
        y = list(features_of(backbone(x, train=train)).values())[-1]
        if y.shape[:-1] != x.shape[:-1]:
            found = f"{type(backbone).__name__} ends in an array {list(y.shape)}"
            size = " x ".join(map(str, x.shape[1:3]))
            raise ValueError(f"{found}, not in a map of {size}: StarConvex needs one of the size of what is read")
        y = self.conv(self.width, (3, 3), use_bias=False, kernel_init=he_fan_in, dtype=self.dtype, name="head")(y)
        y = self.act(self.norm(dtype=self.dtype, name="head_norm")(y, train=train))
        last = partial(self.conv, kernel_size=(1, 1), kernel_init=he_fan_in)
        logits = last(1, name="classifier")(y)[..., 0]
        lengths = last(self.rays, bias_init=nn.initializers.ones, name="lengths")(y)
        return Shapes(logits, nn.softplus(lengths) * REACH)

    def losses(
        self, raw: Shapes, instances: jax.Array, counted: jax.Array
    ) -> Mapping[str, tuple[jax.Array, jax.Array]]:
        """The terms of the loss, (sum, count) each: of centrality, and of lengths weighted by it (section 2).

        instances: [B, H, W] the objects of the pixels. counted: [B, H, W] 0 or 1, which of them say something.
        """
        ours, counts = (array[:, :: self.stride, :: self.stride] for array in (instances, counted))
        lengths = ray_lengths(instances, self.rays, self.stride)
        central = centrality(ours, lengths)
        entropy = cross_entropy(raw.logits, central) * counts
        off, weight = jnp.abs(raw.lengths - lengths).mean(-1), central * counts
        return {
            "centrality": (entropy.sum(), counts.sum()),
            "lengths": (self.lengths_weight * (off * weight).sum(), weight.sum()),
        }

    def outlines(self, raw: Shapes) -> Outlines:
        """Pixels that no neighbour is surer than."""
        window = ((NEIGHBOURS // 2,) * 2,) * 2
        around = nn.max_pool(raw.logits[..., None], (NEIGHBOURS,) * 2, padding=window)[..., 0]
        scores = nn.sigmoid(raw.logits.astype(jnp.float32))
        scores = jnp.where((raw.logits >= around) & (scores >= self.score), scores, 0)
        size, _, wide = scores.shape
        flat = scores.reshape(size, -1)
        best, places = jax.lax.top_k(flat, min(self.most, flat.shape[1]))
        lengths = jnp.take_along_axis(raw.lengths.reshape(*flat.shape, -1), places[..., None], 1)
        centres = jnp.stack([places % wide, places // wide], -1) * self.stride + 0.5
        real = best > 0
        centres, lengths = (jnp.where(real[..., None], array, 0) for array in (centres, lengths))
        return Outlines(best, centres, lengths.astype(jnp.float32), (flat > 0).sum(1, dtype=jnp.int32))


star_convex = Variant(
    build=partial(StarConvex),
    input_shape=(128, 128, 1),
    classes=1,
    params=494_353,
    macs=191_889_408,
    source="Schmidt et al. 2018, arXiv:1806.03535, with a U-Net of this project",
)
