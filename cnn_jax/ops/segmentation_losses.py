"""Losses of segmentation: what the logits of all pixels cost.

Each is `loss(logits [B, H, W, K], truth int32 [B, H, W], counted float32 [B, H, W], *, weight, ...)`, and returns its
terms {name: (sum, count)}; `value` makes the loss of them, the sum of sum / count over the terms, with counts of the
batches of all devices. counted is 1 where a pixel counts and 0 where it does not, where truth is 0 and says nothing: no
value and no gradient depends on such a pixel. All are finite for finite logits, however large, and 0 where no pixel
counts. Probabilities are the softmax of the logits.

Losses of whole regions (`dice`, `tversky`, `lovasz_softmax`) compare sums over pixels: with `per_image` over each image
alone, whose losses are averaged, and otherwise over the whole batch of all devices. `background` is the number of a
class that they leave out of the mean over classes, None for none.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax.ops.batch_axis import gather_over_devices, mean_over_devices, sum_over_devices
from cnn_jax.ops.distance import distance_to

Terms = Mapping[str, tuple[jax.Array, jax.Array]]
Loss = Callable[[jax.Array, jax.Array, jax.Array], Terms]


def value(terms: Terms) -> jax.Array:
    """The loss of terms: the mean over devices of it and of its gradients is that of the whole batch."""

    def share(lost: jax.Array, count: jax.Array) -> jax.Array:
        count = mean_over_devices(count)  # may be any number above 0: a sum of weights, a pixel over eight devices
        return jnp.where(count > 0, lost / jnp.where(count > 0, count, 1), 0)

    return jnp.sum(jnp.stack([share(*term) for term in terms.values()]))


def add_all(logits: jax.Array, truth: jax.Array, counted: jax.Array, *, losses: tuple[Loss, ...] = ()) -> Terms:
    """What `total` makes: the terms of all losses."""
    terms: dict[str, tuple[jax.Array, jax.Array]] = {}
    for loss in losses:
        found = loss(logits, truth, counted)
        if twice := sorted(set(found) & set(terms)):
            raise ValueError(f"two losses have the term '{twice[0]}'")
        terms |= found
    return terms


def total(*losses: Loss) -> Loss:
    """Several losses added up. Raises ValueError, when it is called, where two have terms of one name.

    The result is a partial over `add_all`, so a configuration can show it as text.
    """
    return partial(add_all, losses=losses)


def cross_entropy(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    *,
    class_weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> Terms:
    """The mean over pixels of minus the logarithm of the probability of the true class.

    Args:
      class_weights: [K] what the pixels of each class count: the mean is weighted by them, as PyTorch's is, so that
        twice the weights change nothing.
      smoothing: of the labels (Szegedy et al. 2016, section 7): this share is that of all classes evenly.
    """
    weights = _weights(class_weights, logits)
    own = weights[truth]
    losses = -own * _log_likelihood(logits, truth)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * (weights * jax.nn.log_softmax(_wide(logits))).mean(-1)
    return {"cross_entropy": (weight * (losses * counted).sum(), (own * counted).sum())}


def focal(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    *,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
    weight: float = 1.0,
) -> Terms:
    """Focal loss (Lin et al. 2017, eq. 5) of the true class: cross-entropy that hardly counts what is right already.

    Args:
      gamma: how fast what is right loses weight.
      class_weights: [K], the paper's alpha. The mean is that over pixels, whatever the weights, as in the paper: twice
        the weights are twice the loss.
    """
    log = _log_likelihood(logits, truth)
    missing = -jnp.expm1(log)  # 1 - probability, without its rounding
    some = missing > 0  # a power below 1 has an infinite gradient at 0
    losses = -jnp.where(some, jnp.where(some, missing, 1) ** gamma, 0) * log
    weights = _weights(class_weights, logits)[truth] * counted
    return {"focal": (weight * (losses * weights).sum(), counted.sum())}


def ohem(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    *,
    threshold: float = 0.7,
    least: float = 1 / 16,
    class_weights: Sequence[float] | None = None,
    weight: float = 1.0,
) -> Terms:
    """Cross-entropy of the hard pixels of the batch (Shrivastava et al. 2016, for segmentation as HRNet's code has it).

    Hard are those whose true class has a probability below `threshold`, and in any case the share `least` of the pixels
    that count, those with the least probabilities, in the whole batch of all devices; of equal ones all. Under
    optim.accumulate it is that share of each part of the batch. HRNet keeps at least 100,000 of 12 crops of
    1024 x 512, a 63rd. With threshold=0 it is the hardest share alone.

    Args:
      class_weights: as those of `cross_entropy`.
    """
    log = _log_likelihood(logits, truth)
    sure = jax.lax.stop_gradient(jnp.where(counted > 0, jnp.exp(log), jnp.inf))
    whole = jnp.sort(gather_over_devices(sure).ravel())
    wanted = jnp.ceil(least * jnp.isfinite(whole).sum()).astype(jnp.int32)
    hardest = whole[jnp.maximum(wanted - 1, 0)]
    hard = counted * ((sure < threshold) | ((sure <= hardest) & (wanted > 0)))
    weights = hard * _weights(class_weights, logits)[truth]
    return {"ohem": (weight * -(log * weights).sum(), weights.sum())}


def dice(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    *,
    smooth: float = 1e-5,
    per_image: bool = False,
    background: int | None = None,
    weight: float = 1.0,
) -> Terms:
    """1 - soft Dice, averaged over classes: (2 sum p y + smooth) / (sum p + sum y + smooth), p probability, y truth.

    With background=0 it is nnU-Net's, but for the 1. A class that no pixel has counts in the mean, as there: its Dice
    is smooth / (sum p + smooth), 1 where nothing is predicted either, also with smooth=0, and near 0 otherwise, with a
    gradient of the order of `smooth` alone. `lovasz_softmax` leaves such classes out.

    The sums run over the whole batch of all devices, or over each image with per_image=True. Under optim.accumulate
    they run over each part of the batch, and the mean over parts is not the Dice of the whole: only per_image=True is
    the same for any number of parts.
    """
    lost, count = _overlap(logits, truth, counted, 0.5, 0.5, smooth / 2, per_image, background)
    return {"dice": (weight * lost, count)}


def tversky(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    *,
    false_positive: float = 0.3,
    false_negative: float = 0.7,
    smooth: float = 1e-5,
    per_image: bool = False,
    background: int | None = None,
    weight: float = 1.0,
) -> Terms:
    """1 - Tversky index, averaged over classes (Salehi, Erdogmus & Gholipour 2017, arXiv:1706.05721, eq. 4).

    (t + smooth) / (t + false_positive f + false_negative m + smooth): t = sum p y what is right, f = sum p (1 - y)
    what is found without being there, m = sum (1 - p) y what is missed. Both 0.5 are Dice, both 1 the IoU. Classes that
    no pixel has are treated as in `dice`.
    """
    lost, count = _overlap(logits, truth, counted, false_positive, false_negative, smooth, per_image, background)
    return {"tversky": (weight * lost, count)}


def lovasz_softmax(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    *,
    per_image: bool = False,
    background: int | None = None,
    weight: float = 1.0,
) -> Terms:
    """Lovasz-softmax (Berman, Triki & Blaschko 2018, arXiv:1705.08790, eq. 8 and 9): a convex bound of 1 - IoU.

    The mean is over the classes that some pixel has; it is 0 without any. All pixels are sorted for each class, which
    takes a CPU longer than a small network does, and without `per_image` those of all devices on each of them.
    """
    own = _one_hot(truth, logits)
    errors = _without(background, jnp.abs(own - jax.nn.softmax(_wide(logits))))
    own = _without(background, own * counted[..., None])
    if not per_image:
        errors, own, counted = gather_over_devices((errors, own, counted))

    def of_pixels(errors: jax.Array, own: jax.Array, counted: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Those of one class, all [N]: their loss, and whether any of them has the class."""
        order = jnp.argsort(jnp.where(counted > 0, -jax.lax.stop_gradient(errors), jnp.inf))
        there, real = own[order], counted[order]
        # What is left of the intersection where the pixels so far are wrong, and the union then. The loss 1 - IoU rises
        # by each pixel that joins them; as a difference of quotients that would cancel.
        left, union = own.sum() - jnp.cumsum(there), jnp.maximum(own.sum() + jnp.cumsum(real - there), 1)
        rise = jnp.where(there > 0, 1 / union, real * left / (union * jnp.maximum(union - 1, 1)))
        rise = jnp.zeros_like(rise).at[order].set(rise, unique_indices=True)
        return (errors * rise).sum(), (own.sum() > 0).astype(jnp.float32)

    groups = len(errors) if per_image else 1
    errors, own = (part.reshape(groups, -1, part.shape[-1]) for part in (errors, own))
    counted = counted.reshape(groups, -1)
    lost, present = jax.vmap(jax.vmap(of_pixels, (-1, -1, None)))(errors, own, counted)
    means = (lost * present).sum(-1) / jnp.maximum(present.sum(-1), 1)
    real = counted.any(-1)
    return {"lovasz": (weight * (means * real).sum(), real.sum(dtype=jnp.float32))}


def boundary(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    *,
    background: int | None = None,
    weight: float = 1.0,
) -> Terms:
    """Boundary loss (Kervadec et al. 2019, arXiv:1812.07032, eq. 5): the mean of probability x distance to the class.

    The distance to the region of a class is Euclidean, exact and in pixels; within it, it is 1 minus that to the next
    pixel of another class, as in the authors' code: 0 at its border, and falling from there, so that the loss may be
    negative. The mean is over pixels and classes. A class that no pixel of an image has, and one that all have, has no
    border: its distances are 0 there. Pixels that do not count belong to no class. Distances grow with the image: the
    paper adds this loss to Dice with a weight from 0.01 on.
    """
    own = _one_hot(truth, logits) * counted[..., None] > 0
    away = distance_to(own)
    others = jnp.where(own, jnp.inf, away).min(-1, keepdims=True)  # to the nearest pixel of any other class
    signed = jnp.where(own, 1 - others, away)
    signed = jax.lax.stop_gradient(jnp.where(jnp.isfinite(signed), signed, 0))
    losses = _without(background, jax.nn.softmax(_wide(logits)) * signed).mean(-1)
    return {"boundary": (weight * (losses * counted).sum(), counted.sum())}


def _overlap(
    logits: jax.Array,
    truth: jax.Array,
    counted: jax.Array,
    false_positive: float,
    false_negative: float,
    smooth: float,
    per_image: bool,
    background: int | None,
) -> tuple[jax.Array, jax.Array]:
    """Sum and number of 1 - Tversky index of images, or of the batch; where an index is 0 / 0 it is 1."""
    own = _one_hot(truth, logits) * counted[..., None]
    probability = jax.nn.softmax(_wide(logits)) * counted[..., None]
    sums = [_without(background, part.sum((1, 2))) for part in (probability * own, probability, own)]  # [B, classes]
    pixels = counted.sum((1, 2))
    if not per_image:
        sums, pixels = sum_over_devices(jax.tree.map(lambda part: part.sum(0, keepdims=True), (sums, pixels)))
    right, found, there = sums
    over = right + smooth
    under = over + false_positive * (found - right) + false_negative * (there - right)
    index = jnp.where(under > 0, over / jnp.where(under > 0, under, 1), 1)
    real = (pixels > 0).astype(jnp.float32)
    return ((1 - index).mean(-1) * real).sum(), real.sum()


def _wide(logits: jax.Array) -> jax.Array:
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _log_likelihood(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """The logarithm of the probability of each pixel's true class, [B, H, W]."""
    logits = _wide(logits)
    # Without the greatest first: of logits of 1e4 a float32 has no digits left for the logarithm of a sum.
    shifted = logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    own = jnp.take_along_axis(shifted, truth[..., None], -1)[..., 0]
    return own - jnp.log(jnp.exp(shifted).sum(-1))


def _one_hot(truth: jax.Array, logits: jax.Array) -> jax.Array:
    """float32 [B, H, W, K]."""
    return (truth[..., None] == jnp.arange(logits.shape[-1])).astype(jnp.float32)


def _weights(class_weights: Sequence[float] | None, logits: jax.Array) -> jax.Array:
    classes = logits.shape[-1]
    weights = (1.0,) * classes if class_weights is None else tuple(class_weights)
    if len(weights) != classes or min(weights) < 0:
        raise ValueError(f"class_weights {weights}: there are {classes} classes, and a weight >= 0 is needed for each")
    return jnp.asarray(weights, jnp.float32)


def _without(background: int | None, x: jax.Array) -> jax.Array:
    """x [..., K] but for one class. Raises ValueError where `background` is none of them, or the only one."""
    classes = x.shape[-1]
    if background is None:
        return x
    if not 0 <= background < classes or classes == 1:
        raise ValueError(
            f"background = {background}: it is one of the classes 0 to {classes - 1}, and not the only one"
        )
    return jnp.concatenate([x[..., :background], x[..., background + 1 :]], -1)
