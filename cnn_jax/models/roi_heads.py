"""The second stage of a detector of two: what is in each proposal (Girshick 2015, arXiv:1504.08083)."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax.models import candidates
from cnn_jax.models.candidates import within
from cnn_jax.models.detector import Detections, Losses, Objects
from cnn_jax.models.layers import Activation, Layer, he_fan_out
from cnn_jax.models.rpn import BETA, Proposals, Sampled, sampled, targets
from cnn_jax.ops import masks
from cnn_jax.ops.boxes import area, decode_deltas
from cnn_jax.ops.detection_losses import cross_entropy, smooth_l1
from cnn_jax.ops.roi_align import roi_align

SAMPLES, SHARE = 512, 0.25  # of proposals that the losses look at, in each image; at most this share with an object
FOREGROUND = 0.5  # IoU with an object; below it is background
WEIGHTS = (10, 10, 5, 5)  # of the coded numbers
SMALLEST = 1e-2  # side of a detection, in pixels
USUAL_SIDE, USUAL_LEVEL = 224, 4  # a box of this side is cut from the map of stride 2^4 (Lin et al. 2017, eq. 1)

_dense = partial(nn.Dense, kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))  # PyTorch's


class BoxHead(nn.Module):
    """[N, H, W, C] -> [N, width], by 3x3 convolutions and then dense layers, all with activations.

    norm: behind convolutions, which have a bias without it. convolutions, dense: how many of each.
    """

    conv: Layer
    act: Activation
    dtype: Any
    norm: Layer | None = None
    convolutions: int = 0
    dense: int = 2
    width: int = 1024

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = tower(x, self.convolutions, conv=self.conv, norm=self.norm, act=self.act, dtype=self.dtype, train=train)
        x = x.reshape(len(x), -1)
        for i in range(1, self.dense + 1):
            x = self.act(_dense(self.width, dtype=self.dtype, name=f"hidden{i}")(x))
        return x


class MaskHead(nn.Module):
    """[N, H, W, C] -> [N, 2 H, 2 W, C], by four 3x3 convolutions and a transposed one (He et al. 2017, figure 4).

    norm: behind the four, which have a bias without it.
    """

    conv: Layer
    act: Activation
    dtype: Any
    norm: Layer | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = tower(x, 4, conv=self.conv, norm=self.norm, act=self.act, dtype=self.dtype, train=train)
        larger = nn.ConvTranspose(
            x.shape[-1],
            (2, 2),
            (2, 2),
            "VALID",
            transpose_kernel=True,
            kernel_init=he_fan_out,
            dtype=self.dtype,
            name="up",
        )
        return self.act(larger(x))


class Classifier(nn.Module):
    """All layers with an output for each of `classes`, the background among them: for other classes all are new."""

    classes: int
    conv: Layer

    def setup(self) -> None:
        self.scores, self.boxes = _dense(self.classes), _dense(4 * self.classes)
        self.masks = self.conv(self.classes, (1, 1))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What a head made of N boxes [N, C] -> logits [N, classes] and deltas [N, classes, 4]."""
        return self.scores(x), self.boxes(x).reshape(len(x), self.classes, 4)

    def of_masks(self, x: jax.Array) -> jax.Array:
        """[N, M, M, C] -> logits [N, M, M, classes]."""
        found: jax.Array = self.masks(x)
        return found


def tower(
    regions: jax.Array, count: int, *, conv: Layer, norm: Layer | None, act: Activation, dtype: Any, train: bool
) -> jax.Array:
    """3x3 convolutions of the calling module, "conv1" and so on, with norms where there are any, and activations."""
    for i in range(1, count + 1):
        x = conv(regions.shape[-1], (3, 3), use_bias=norm is None, dtype=dtype, name=f"conv{i}")(regions)
        regions = act(norm(dtype=dtype, name=f"norm{i}")(x, train=train) if norm else x)
    return regions


def level_of(boxes: jax.Array, strides: Sequence[int]) -> jax.Array:
    """Which map boxes [..., 4] are cut from: that of twice the stride for twice the side, as far as there are any."""
    lowest, highest = (round(math.log2(stride)) for stride in (strides[0], strides[-1]))
    # What is a little too small for a level by rounding belongs to it.
    level = jnp.floor(USUAL_LEVEL + jnp.log2(jnp.sqrt(area(boxes)) / USUAL_SIDE) + jnp.float32(1e-6))
    return (jnp.clip(level, lowest, highest) - lowest).astype(jnp.int32)


def cut(levels: Sequence[jax.Array], strides: Sequence[int], boxes: jax.Array, size: int) -> jax.Array:
    """What the maps [B, H, W, C] of these strides show in boxes [B, N, 4] -> [B * N, size, size, C]."""
    align = partial(roi_align, scales=[1 / stride for stride in strides], size=(size, size))
    of = level_of(boxes, strides)
    found = jax.vmap(lambda levels, boxes, of: align(levels, boxes, of=of))(list(levels), boxes, of)
    return found.reshape(-1, *found.shape[2:])


def looked(proposals: Proposals, objects: Objects, rank: jax.Array) -> Sampled:
    """The proposals that the losses learn from. rank: [B, R + G], of the proposals and, behind them, the objects.

    The objects are proposals, too: at the beginning there would be hardly any others with an object.
    """
    boxes = jnp.concatenate([proposals.boxes, objects.boxes], 1)
    valid = jnp.concatenate([proposals.valid, objects.present], 1)
    match = partial(sampled, foreground=FOREGROUND, background=FOREGROUND, forced=False, most=SAMPLES, share=SHARE)
    return jax.vmap(match)(boxes, valid, objects, rank)[0]


class Seen(NamedTuple):
    """What the head says of R boxes of each image.

    boxes: [B, R, 4]. logits: [B, R, 1 + C], of the softmax; the first is background. deltas: [B, R, 1 + C, 4], those of
    the background mean nothing.
    """

    boxes: jax.Array
    logits: jax.Array
    deltas: jax.Array


def losses(seen: Seen, sample: Sampled, objects: Objects) -> Losses:
    """Of "classes" and "boxes", both by the number of proposals in the sample of the batch."""
    positive = sample.objects >= 0
    own = jnp.take_along_axis(objects.labels, jnp.maximum(sample.objects, 0), 1)
    labels = jnp.where(positive, own + 1, 0)
    count = sample.counts.sum().astype(jnp.float32)
    wrong = optax.softmax_cross_entropy_with_integer_labels(seen.logits, labels)
    deltas = jnp.take_along_axis(seen.deltas, labels[..., None, None], 2)[:, :, 0]
    apart = smooth_l1(deltas - targets(sample, objects, WEIGHTS), beta=BETA).sum(-1)
    return {
        "classes": (jnp.where(sample.counts, wrong, 0).sum(), count),
        "boxes": (jnp.where(sample.counts & positive, apart, 0).sum(), count),
    }


class Masked(NamedTuple):
    """What the mask head says of boxes with an object, the first ones of a sample.

    logits: [B, P, M, M], of the sigmoid, for the class of the object. sample: of P boxes.
    """

    logits: jax.Array
    sample: Sampled


def with_objects(sample: Sampled) -> Sampled:
    """The boxes of a sample that have an object, which are its first ones, as many as there may be.

    What is there for the sake of static shapes repeats them, so that norms see nothing else.
    """
    positive = sample.counts & (sample.objects >= 0)
    most = min(int(SAMPLES * SHARE), positive.shape[1])
    count = positive.sum(1, keepdims=True)
    places = jnp.arange(most) % jnp.maximum(count, 1)
    return Sampled(
        candidates.taken(sample.boxes, places), jnp.take_along_axis(sample.objects, places, 1), jnp.arange(most) < count
    )


def mask_losses(masked: Masked, objects: Objects) -> Losses:
    """Of "masks", the mean over their pixels, by the number of boxes with an object in the batch."""
    assert objects.instances is not None
    sample, size = masked.sample, masked.logits.shape[-1]
    covered = jax.vmap(partial(masks.cut, cells=size))(objects.instances, sample.objects + 1, sample.boxes)
    wrong = cross_entropy(masked.logits, covered).mean((2, 3))
    return {"masks": (jnp.where(sample.counts, wrong, 0).sum(), sample.counts.sum().astype(jnp.float32))}


def detections(
    seen: Seen, valid: jax.Array, content: jax.Array, *, score: float, overlap: float, most: int
) -> Detections:
    """The classes of all boxes with a score above `score`, those of one class that overlap a better one suppressed.

    valid: [B, R] which boxes are any.
    """
    scores = nn.softmax(seen.logits)[..., 1:]
    batch, count, classes = scores.shape
    # As they sum to 1, no more of them than these can be above `score`.
    few = min(classes, int(1 / score)) if score > 0 else classes
    best, labels = jax.lax.top_k(scores, few)
    deltas = jnp.take_along_axis(seen.deltas[:, :, 1:], labels[..., None], 2)
    boxes = decode_deltas(deltas, seen.boxes[:, :, None], WEIGHTS).reshape(batch, -1, 4)
    boxes = within(boxes, content)
    good = ((best > score) & valid[..., None]).reshape(batch, -1)
    good &= (boxes[..., 2:] - boxes[..., :2] >= SMALLEST).all(-1)
    pairs = candidates.Candidates(boxes, best.reshape(batch, -1), labels.reshape(batch, -1), good)
    return candidates.detected([pairs], overlap, most)
