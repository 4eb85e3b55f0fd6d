"""What a detector finds in an image and in its mirror images, made one: a box is where all of them see it.

Boxes of one object are averaged by their scores, as in box voting (Gidaris & Komodakis 2015, arXiv:1505.01749, section
5) and weighted boxes fusion (Solovyev et al. 2021, arXiv:1910.13302), whose score it has too: the mean over the views,
in which one that has not seen the object counts 0.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.models.detector import Detections
from cnn_jax.ops.boxes import iou
from cnn_jax.ops.mirror import mirror, ways
from cnn_jax.ops.nms import nms

OVERLAP = 0.5  # the IoU above which two boxes are of one object

Find = Callable[[jax.Array, jax.Array], Detections]  # (images, content [B, 4]) -> what is found in them


def mirrored(find: Find, axes: Sequence[int]) -> Find:
    """`find` in all mirror images of x [B, H, W, C] along `axes`, of 1 and 2; the passes are the steps of a loop."""
    if not axes:
        return find

    def merged(x: jax.Array, content: jax.Array) -> Detections:
        def of_boxes(boxes: jax.Array, axis: int) -> jax.Array:
            return flip_boxes(boxes, x.shape[axis], axis)

        def view(way: jax.Array) -> Detections:
            found = find(mirror(x, way, axes), mirror(content, way, axes, of_boxes))
            return found._replace(boxes=mirror(found.boxes, way, axes, of_boxes))

        # [V, B, K, ...] -> [B, V, K, ...]
        return voted(*(jnp.moveaxis(part, 0, 1) for part in lax.map(view, ways(axes))))

    return merged


def flip_boxes(boxes: jax.Array, length: int, axis: int) -> jax.Array:
    """Boxes [..., 4] in images [B, H, W, C] of that length along `axis`, 1 or 2, after a mirror along it."""
    left, top, right, bottom = jnp.moveaxis(boxes, -1, 0)
    sides = (length - right, top, length - left, bottom) if axis == 2 else (left, length - bottom, right, length - top)
    return jnp.stack(sides, -1)


def voted(boxes: jax.Array, scores: jax.Array, labels: jax.Array) -> Detections:
    """V lists of K detections of each image, made one of K: boxes [B, V, K, 4], scores and labels [B, V, K].

    The best box of each object is found by suppression; its place is then the mean of all boxes of its class that
    overlap it, weighted by their scores.
    """
    count, views, most = scores.shape
    boxes, scores, labels = (part.reshape(count, views * most, *part.shape[3:]) for part in (boxes, scores, labels))
    kept = nms(boxes, scores, OVERLAP, most, classes=labels, valid=labels >= 0)

    def average(
        boxes: jax.Array, scores: jax.Array, labels: jax.Array, kept: jax.Array, valid: jax.Array
    ) -> Detections:
        of_one = (iou(boxes[kept][:, None], boxes) > OVERLAP) & (labels[kept][:, None] == labels) & (labels >= 0)
        of_one |= jnp.arange(len(boxes)) == kept[:, None]  # itself, even if it has no area
        weights = jnp.where(of_one, scores, 0)  # [K, V * K]
        total = weights.sum(-1, keepdims=True)
        mean = jnp.where(total > 0, (weights @ boxes) / jnp.where(total > 0, total, 1), boxes[kept])
        score = jnp.where(valid, weights.reshape(most, views, -1).max(-1).mean(-1), 0)
        order = jnp.argsort(-score, stable=True)
        chosen = valid[order]
        return Detections(
            jnp.where(chosen[:, None], mean[order], 0), score[order], jnp.where(chosen, labels[kept][order], -1)
        )

    return jax.vmap(average)(boxes, scores, labels, kept.indices, kept.valid)
