"""Where the picture lies in an example, when it has been moved or joined with others.

A placement [6] is how far the picture was resized and moved (down, across), and its size. A detector cuts what it finds
to the box of the picture, in training too, so that box is what an augmentation keeps right: of a picture that is turned
it is the hull, of several pictures the hull of all. Whether it was mirrored a placement does not say; evaluation, which
maps boxes back to the original picture, sees no augmented batch.
"""

import jax
import jax.numpy as jnp


def content(placement: jax.Array) -> jax.Array:
    """The boxes [B, 4] (left, top, right, bottom) of pictures under placements [B, 6]; not cut to the example."""
    scale, offset, original = placement[:, :2], placement[:, 2:4], placement[:, 4:]
    return jnp.concatenate([offset[:, ::-1], (offset + scale * original)[:, ::-1]], axis=-1)


def with_content(placement: jax.Array, box: jax.Array) -> jax.Array:
    """Placements [B, 6] whose pictures, of the size they had, fill the boxes [B, 4]."""
    original = placement[:, 4:]
    sides = (box[:, 2:] - box[:, :2])[:, ::-1]
    scale = jnp.where(original > 0, sides / jnp.where(original > 0, original, 1), 0)
    return jnp.concatenate([scale, box[:, 1::-1], original], axis=-1)


def union(placement: jax.Array, other: jax.Array) -> jax.Array:
    """Placements [B, 6] for the hull of their pictures and those of others."""
    one, two = content(placement), content(other)
    low, high = jnp.minimum(one[:, :2], two[:, :2]), jnp.maximum(one[:, 2:], two[:, 2:])
    return with_content(placement, jnp.concatenate([low, high], axis=-1))
