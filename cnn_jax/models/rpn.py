"""The first stage of a detector of two: a region proposal network (Ren et al. 2015, arXiv:1506.01497, section 3.1)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.candidates import taken, within
from cnn_jax.models.detector import Losses, Objects
from cnn_jax.models.layers import Activation, Layer
from cnn_jax.ops.boxes import decode_deltas, encode_deltas, iou
from cnn_jax.ops.detection_losses import cross_entropy, smooth_l1
from cnn_jax.ops.matching import BACKGROUND, by_iou, hidden
from cnn_jax.ops.nms import nms
from cnn_jax.ops.sampling import Sample, balanced

Draw = Callable[[jax.Array, tuple[int, ...]], jax.Array]  # (key, shape) -> numbers; examples with the highest are taken

SAMPLES, SHARE = 256, 0.5  # of anchors that the loss looks at, in each image; at most this share with an object
FOREGROUND, BACKGROUND_BELOW = 0.7, 0.3  # IoU with an object
SMALLEST = 1e-3  # side of a proposal, in pixels
BETA = 1 / 9  # where the loss of boxes turns from a square into a line; also of the second stage

small = nn.initializers.normal(0.01)


class RPN(nn.Module):
    """Maps [B, H, W, C] -> of each map logits [B, A], of the sigmoid, and deltas [B, A, 4] of its anchors.

    All maps share the layers. each: anchors at each place. depth: 3x3 convolutions with activations.
    """

    each: int
    depth: int
    conv: Layer
    act: Activation
    dtype: Any

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
        width = levels[0].shape[-1]
        conv = partial(self.conv, kernel_init=small)
        tower = [conv(width, (3, 3), dtype=self.dtype, name=f"conv{i + 1}") for i in range(self.depth)]
        objectness, boxes = (
            conv(n, (1, 1), name=name) for n, name in ((self.each, "objectness"), (self.each * 4, "boxes"))
        )
        logits, deltas = [], []
        for x in levels:
            for layer in tower:
                x = self.act(layer(x))
            logits.append(objectness(x).reshape(len(x), -1))
            deltas.append(boxes(x).reshape(len(x), -1, 4))
        return logits, deltas


class Proposals(NamedTuple):
    """Boxes [B, R, 4] in pixels of the example, in order of falling scores; valid: [B, R] False for what is none."""

    boxes: jax.Array
    valid: jax.Array


class Keep(NamedTuple):
    """Which proposals the second stage looks at.

    candidates: of each level, before those are suppressed that overlap a better one of their level. most: of an image,
    of all levels. score: they have at least. overlap: above which they are suppressed.
    """

    candidates: int = 1000
    most: int = 1000
    score: float = 0.0
    overlap: float = 0.7


def proposals(
    logits: Sequence[jax.Array],
    deltas: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    content: jax.Array,
    keep: Keep,
) -> Proposals:
    """The best boxes of all levels, from what the RPN says of their anchors [A, 4].

    Levels do not compete when boxes are suppressed; all that is left of an image does for the places of `keep.most`.
    """
    count = min(keep.candidates, max(x.shape[1] for x in logits))
    levels = []
    for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
        best, places = jax.lax.top_k(logit, min(count, logit.shape[1]))
        boxes = within(decode_deltas(taken(delta, places), anchor[places]), content)
        scores = nn.sigmoid(best)
        valid = ((boxes[..., 2:] - boxes[..., :2]) >= SMALLEST).all(-1) & (scores >= keep.score)
        short = count - best.shape[1]
        levels.append([jnp.pad(x, ((0, 0), (0, short), (0, 0))[: x.ndim]) for x in (boxes, scores, valid)])
    boxes, scores, valid = (jnp.stack(parts, 1) for parts in zip(*levels, strict=True))  # [B, levels, count, ...]
    batch = len(boxes)
    boxes, scores, valid = (x.reshape(-1, *x.shape[2:]) for x in (boxes, scores, valid))
    kept = nms(boxes, scores, keep.overlap, count, valid=valid)
    boxes, scores = taken(boxes, kept.indices), jnp.take_along_axis(scores, kept.indices, 1)
    scores = jnp.where(kept.valid, scores, -1).reshape(batch, -1)
    best, places = jax.lax.top_k(scores, min(keep.most, scores.shape[1]))
    return Proposals(taken(boxes.reshape(batch, -1, 4), places), best >= 0)


class Sampled(NamedTuple):
    """Boxes of which a loss learns.

    boxes: [B, S, 4] anchors or proposals. objects: [B, S] position of the object that each is to find, or BACKGROUND.
    counts: [B, S] False for what is there for the sake of static shapes.
    """

    boxes: jax.Array
    objects: jax.Array
    counts: jax.Array


def sampled(
    boxes: jax.Array,
    valid: jax.Array,
    objects: Objects,
    rank: jax.Array,
    *,
    foreground: float,
    background: float,
    forced: bool,
    most: int,
    share: float,
) -> tuple[Sampled, jax.Array]:
    """A sample of the boxes [N, 4] of one image with the objects that they are to find, and its places [S].

    valid: [N]. rank: [N], see `balanced`. Others as for `by_iou` and `balanced`. Boxes on what is ignored are no
    background.
    """
    matched = by_iou(
        iou(objects.boxes[:, None], boxes),
        objects.present,
        foreground=foreground,
        background=background,
        forced=forced,
    )
    empty = (matched == BACKGROUND) & ~hidden(boxes, objects.boxes, objects.ignored)
    sample: Sample = balanced(rank, (matched >= 0) & valid, empty & valid, most, share)
    counts = sample.counts & (objects.images > 0)
    return Sampled(boxes[sample.places], matched[sample.places], counts), sample.places


class Looked(NamedTuple):
    """The sample of anchors, and what the RPN says of them: logits [B, S], deltas [B, S, 4]."""

    sample: Sampled
    logits: jax.Array
    deltas: jax.Array


def looked(
    logits: Sequence[jax.Array],
    deltas: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    objects: Objects,
    rank: jax.Array,
) -> Looked:
    """The anchors that the losses learn from. rank: [B, A], of the anchors of all levels."""
    every = jnp.concatenate(anchors)
    match = partial(sampled, foreground=FOREGROUND, background=BACKGROUND_BELOW, forced=True, most=SAMPLES, share=SHARE)
    sample, places = jax.vmap(match, (None, None, 0, 0))(every, jnp.ones(len(every), bool), objects, rank)
    at = jnp.take_along_axis(jnp.concatenate(logits, 1), places, 1)
    return Looked(sample, at, taken(jnp.concatenate(deltas, 1), places))


def losses(raw: Looked, objects: Objects) -> Losses:
    """Of "objectness" and "proposals", both by the number of anchors in the sample of the batch."""
    sample = raw.sample
    positive = sample.counts & (sample.objects >= 0)
    count = sample.counts.sum().astype(jnp.float32)
    right = (cross_entropy(raw.logits, positive.astype(jnp.float32)) * sample.counts).sum()
    apart = smooth_l1(raw.deltas - targets(sample, objects, (1, 1, 1, 1)), beta=BETA).sum(-1)
    return {"objectness": (right, count), "proposals": (jnp.where(positive, apart, 0).sum(), count)}


def targets(sample: Sampled, objects: Objects, weights: Sequence[float]) -> jax.Array:
    """What takes the boxes of a sample to their objects, [B, S, 4]; of background, what takes them to themselves."""
    own = taken(objects.boxes, jnp.maximum(sample.objects, 0))
    return encode_deltas(jnp.where((sample.objects >= 0)[..., None], own, sample.boxes), sample.boxes, weights)
