"""Losses of detectors, element by element: what is summed and by what it is divided is the detector's business.

Of two boxes the losses are 1 - iou, giou, diou or ciou of `ops.boxes`. All values and gradients are finite for finite
logits, however large.
"""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross-entropy of sigmoid(logits) with targets in [0, 1], of one shape."""
    # log(1 + exp(-|x|)) neither overflows nor loses what is small.
    return jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def focal(logits: jax.Array, targets: jax.Array, *, alpha: float = 0.25, gamma: float = 2.0) -> jax.Array:
    """Focal loss (Lin et al. 2017, eq. 5): cross-entropy that hardly counts what is right already.

    Args:
      logits: of any shape.
      targets: 0 or 1, of that shape.
      alpha: weight of targets 1, that of targets 0 being 1 - alpha; below 0 both count the same.
      gamma: how fast what is right loses weight.
    """
    probability = jax.nn.sigmoid(logits)
    missing = probability * (1 - targets) + (1 - probability) * targets
    loss = missing**gamma * cross_entropy(logits, targets)
    return loss if alpha < 0 else loss * (alpha * targets + (1 - alpha) * (1 - targets))


def quality_focal(logits: jax.Array, quality: jax.Array, *, beta: float = 2.0) -> jax.Array:
    """Quality focal loss (Li et al. 2020, arXiv:2006.04388, eq. 2): the score of a class is to say how good its box is.

    quality: in [0, 1], the IoU of the predicted box with the object's for the class of it, 0 for the others.
    """
    return jnp.abs(quality - jax.nn.sigmoid(logits)) ** beta * cross_entropy(logits, quality)


def heat_focal(logits: jax.Array, heat: jax.Array, *, alpha: float = 2.0, beta: float = 4.0) -> jax.Array:
    """Focal loss of a map of centres (Zhou et al. 2019, "Objects as points", eq. 1).

    heat: in [0, 1], 1 at the cell of a centre, falling off around it, where a high score costs less.
    """
    probability = jax.nn.sigmoid(logits)
    log_p, log_not = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    centre = -((1 - probability) ** alpha) * log_p
    around = -((1 - heat) ** beta) * probability**alpha * log_not
    return jnp.where(heat >= 1, centre, around)


def smooth_l1(error: jax.Array, *, beta: float = 1.0) -> jax.Array:
    """|error| less beta / 2, and error^2 / (2 beta) where that is below beta (Girshick 2015, eq. 3); beta 0 is L1."""
    size = jnp.abs(error)
    if beta == 0:
        return size
    return jnp.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta)


def centerness(distances: jax.Array) -> jax.Array:
    """How central points are in their boxes, from distances (left, top, right, bottom) [..., 4] -> [...] in [0, 1].

    Tian et al. 2019 (FCOS), eq. 3: the geometric mean of min / max of both axes; 0 for a point outside.
    """
    low = jnp.minimum(distances[..., :2], distances[..., 2:])
    high = jnp.maximum(distances[..., :2], distances[..., 2:])
    product = jnp.prod(jnp.maximum(low, 0) / jnp.where(high > 0, high, 1), -1)
    # The gradient of a root at 0 has no end.
    return jnp.where(product > 0, jnp.sqrt(jnp.where(product > 0, product, 1)), 0)


def hard_negatives(losses: jax.Array, positive: jax.Array, negative: jax.Array, ratio: float = 3.0) -> jax.Array:
    """Which negatives count: of each image those with the greatest losses, `ratio` for each of its positives.

    Liu et al. 2016 (SSD), section 2.2. Of equal losses the first count. An image without positives has none.

    Args:
      losses: [B, A].
      positive, negative: booleans [B, A]; what is neither does not count.

    Returns:
      Booleans [B, A].
    """
    wanted = jnp.floor(ratio * positive.sum(-1, keepdims=True))
    order = jnp.argsort(jnp.where(negative, -losses, jnp.inf), axis=-1, stable=True)
    rank = jnp.argsort(order, axis=-1)
    return negative & (rank < wanted)
