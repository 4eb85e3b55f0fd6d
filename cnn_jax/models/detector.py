"""What every detector is: a module that looks at images, and pure functions of what it saw.

A detector differs from a classifier in that what is to be found decides what its outputs are compared with, and in that
its outputs have to be decoded. Both are its own business, so each is a method, which needs no variables; the task calls
them and knows no family of networks.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp


class Objects(NamedTuple):
    """What is there to be found in B images, padded to G objects each.

    boxes: [B, G, 4] left, top, right, bottom in pixels of the example.
    labels: [B, G] classes from 0; of those that are not to be found any number.
    present: [B, G] True for what is to be found. Its box has an area.
    ignored: [B, G] True for what is neither an object nor background.
    images: [B] float32, 1 for a real image, 0 for padding, which has no objects.
    instances: [B, H, W] 1 + the place in `boxes` of the object that a pixel belongs to, 0 for none; None: not known.
    """

    boxes: jax.Array
    labels: jax.Array
    present: jax.Array
    ignored: jax.Array
    images: jax.Array
    instances: jax.Array | None = None


class Detections(NamedTuple):
    """What was found, in order of falling scores.

    boxes: [B, K, 4] in pixels of the example. scores: [B, K] in [0, 1], 0 where there is none.
    labels: [B, K] int32 classes from 0, -1 where there is none.
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array


Losses = Mapping[str, tuple[jax.Array, jax.Array]]  # {name: (sum, count)}


class Detector(Protocol):
    """A Linen module with two functions of its raw outputs.

    __call__: images [B, H, W, C] as models read them -> raw outputs, a pytree of arrays. content [B, 4] is the box of
      each example that shows the picture: all of it, which is what None says, but for what a letterbox adds. A detector
      of two stages cuts its proposals to it; one of a single stage does not look at it. With `objects` the outputs are
      those that `losses` compares: a detector of two stages looks at a sample of proposals then, drawn with the random
      stream "sample".
    losses: (raw outputs, objects) -> the terms of the loss, which is the sum of sum / count over all terms, with counts
      of the batches of all devices. Each is finite, with a finite gradient, for images without objects.
    detections: (raw outputs, content) -> what was found, cut to the content. Those of a detector that has a field
      `mask_head`, not None, have masks too.
    """

    def __call__(
        self, x: jax.Array, *, train: bool, content: jax.Array | None = None, objects: Objects | None = None
    ) -> Any: ...

    def losses(self, raw: Any, objects: Objects) -> Losses: ...

    def detections(self, raw: Any, content: jax.Array) -> Detections: ...


def found(boxes: jax.Array, scores: jax.Array, labels: jax.Array, valid: jax.Array) -> Detections:
    """Detections of arrays [B, K, ...] of which those that are not `valid` [B, K] are none."""
    return Detections(
        jnp.where(valid[..., None], boxes, 0).astype(jnp.float32),
        jnp.where(valid, scores, 0).astype(jnp.float32),
        jnp.where(valid, labels, -1).astype(jnp.int32),
    )


def whole(x: jax.Array) -> jax.Array:
    """The content [B, 4] of images [B, H, W, C] that show nothing but the picture."""
    height, width = x.shape[1:3]
    return jnp.broadcast_to(jnp.array([0, 0, width, height], jnp.float32), (len(x), 4))
