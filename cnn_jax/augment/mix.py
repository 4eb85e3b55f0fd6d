"""Augmentations that mix two examples and their labels: mixup, CutMix, or one of the two.

Example i mixes with its neighbour i ^ 1. Batches are shuffled, so the neighbour is a random partner, and a device needs
no example of another one. The target becomes (1 - mix_weight) onehot(label) + mix_weight onehot(mix_label).
"""

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import Batch, box_mask, fold, images, integer, require, uniform


def mixup(keys: jax.Array, batch: Batch, *, alpha: float = 0.2) -> Batch:
    """Blend images (or signals) and labels with a weight from Beta(alpha, alpha) (Zhang et al. 2018, section 2).

    Adds "mix_label" [B] and "mix_weight" [B]. ValueError for an odd batch or one that is mixed already.
    """
    partner = _partners(batch)
    weight = _beta(keys, alpha)
    image = batch["image"]
    share = weight.reshape(-1, *[1] * (image.ndim - 1))
    return {**batch, **partner, "image": (1 - share) * image + share * partner["image"], "mix_weight": weight}


def cutmix(keys: jax.Array, batch: Batch, *, alpha: float = 1.0) -> Batch:
    """Paste a box of the partner, of an area share from Beta(alpha, alpha) (Yun et al. 2019, section 3.1).

    The box's centre is any pixel, so a part of it may fall outside; "mix_weight" [B] is the share of pixels that
    really came from the partner. Adds "mix_label" [B] too. ValueError for an odd batch or one that is mixed already.
    """
    image = images(batch)
    _, height, width, _ = image.shape
    partner = _partners(batch)
    side = jnp.sqrt(_beta(keys, alpha))
    half_height = jnp.floor(height * side / 2).astype(jnp.int32)
    half_width = jnp.floor(width * side / 2).astype(jnp.int32)
    u = uniform(fold(keys, 1), 2)
    row, column = integer(u[:, 0], height), integer(u[:, 1], width)
    top, bottom = jnp.maximum(row - half_height, 0), jnp.minimum(row + half_height, height)
    left, right = jnp.maximum(column - half_width, 0), jnp.minimum(column + half_width, width)
    pasted = box_mask(top, left, bottom, right, height, width)
    weight = ((bottom - top) * (right - left)).astype(jnp.float32) / (height * width)
    return {**batch, **partner, "image": jnp.where(pasted, partner["image"], image), "mix_weight": weight}


def mixup_or_cutmix(
    keys: jax.Array,
    batch: Batch,
    *,
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    cutmix_probability: float = 0.5,
) -> Batch:
    """CutMix with `cutmix_probability`, else mixup, chosen per example. Adds and raises what they do."""
    require(0 <= cutmix_probability <= 1, f"cutmix_probability must lie in [0, 1]; got {cutmix_probability}")
    blended = mixup(fold(keys, 1), batch, alpha=mixup_alpha)
    pasted = cutmix(fold(keys, 2), batch, alpha=cutmix_alpha)
    cut = uniform(keys) < cutmix_probability
    image = jnp.where(cut[:, None, None, None], pasted["image"], blended["image"])
    return {**blended, "image": image, "mix_weight": jnp.where(cut, pasted["mix_weight"], blended["mix_weight"])}


def _partners(batch: Batch) -> Batch:
    """The neighbours' "image" and their label as "mix_label"."""
    require("mix_label" not in batch, "this batch is mixed already; compose at most one of mixup and cutmix")
    size = len(batch["label"])
    require(size % 2 == 0, f"mixing needs pairs of examples; use an even batch per device, not {size}")

    def swap(array: jax.Array) -> jax.Array:
        return array.reshape(size // 2, 2, *array.shape[1:])[:, ::-1].reshape(array.shape)

    return {"image": swap(batch["image"]), "mix_label": swap(batch["label"])}


def _beta(keys: jax.Array, alpha: float) -> jax.Array:
    """Beta(alpha, alpha) draws [B] from keys [B], for any alpha > 0.

    Bailey's polar method (Math. Comp. 62, 1994) gives a Student variable T of 2 alpha degrees of freedom from two
    uniform ones, and (1 + T / sqrt(2 alpha + T^2)) / 2 is the draw. No rejection loop, whose end devices would have to
    agree on.
    """
    require(alpha > 0, f"alpha of Beta(alpha, alpha) must be positive; got {alpha}")
    u = uniform(keys, 2)
    cosine = jnp.cos(2 * jnp.pi * u[:, 1])
    ratio = jnp.expm1(-jnp.log1p(-u[:, 0]) / alpha) * cosine**2  # T^2 / (2 alpha), from 1 - u in (0, 1]
    return 0.5 * (1 + jnp.sign(cosine) * jnp.sqrt(1 / (1 + 1 / ratio)))
