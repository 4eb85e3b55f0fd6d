"""Whether a map points at what is known to count: the object's mask, or its box as a mask.

Masks are bool [B, *spatial] and maps [B, *spatial]. An example whose mask is empty has no score: nan.
"""

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 15.0  # pixels, of images of 224 or more


def pointing(attribution: jax.Array, masks: jax.Array, *, tolerance: float = TOLERANCE) -> jax.Array:
    """Whether the map's maximum lies in the mask, or less than `tolerance` positions from it, 0 or 1 [B].

    Zhang et al. 2016, arXiv:1608.00507, the pointing game, with the tolerance of TorchRay. Higher is better. Where
    several positions tie for the maximum, the share of them that hit, as if one were drawn: Quantus 0.6 takes any of
    them for a hit, so that a constant map always wins there.
    """
    spatial = tuple(range(1, masks.ndim))
    top = attribution == attribution.max(spatial, keepdims=True)
    hits = (top & near(masks, tolerance)).sum(spatial) / top.sum(spatial)
    return _or_nan(hits, masks)


def energy_inside(attribution: jax.Array, masks: jax.Array) -> jax.Array:
    """The share [B] of the positive relevance that lies in the mask. Higher is better; 0 for a map without any.

    Wang et al. 2020, arXiv:1910.01279, section 4.3, and "relevance mass accuracy" of Arras et al. 2022.
    """
    spatial, positive = tuple(range(1, masks.ndim)), jnp.maximum(attribution, 0)
    total = positive.sum(spatial)
    return _or_nan((positive * masks).sum(spatial) / jnp.where(total > 0, total, 1), masks)


def rank_accuracy(ranks: jax.Array, masks: jax.Array) -> jax.Array:
    """The share [B] of the n most relevant positions that lie in a mask of n positions. Higher is better.

    Arras et al. 2022, arXiv:2003.07258, section 3.3. ranks: of `ranking.ranks`.
    """
    spatial = tuple(range(1, masks.ndim))
    size = masks.sum(spatial, keepdims=True)
    return _or_nan((masks & (ranks < size)).sum(spatial) / jnp.maximum(size.squeeze(spatial), 1), masks)


def class_mean(scores: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of the mean score [N] of a class, as the pointing game counts; nan does not count."""
    known = ~np.isnan(scores)
    found = [scores[known & (labels == label)] for label in np.unique(labels[known])]
    return float(np.mean([part.mean() for part in found])) if found else float("nan")


def near(masks: jax.Array, tolerance: float) -> jax.Array:
    """Masks that have grown by all positions less than `tolerance` from them, in Euclidean distance."""
    if tolerance <= 1:
        return masks
    reach = int(np.ceil(tolerance)) - 1
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * (masks.ndim - 1), indexing="ij"))
    disc = jnp.asarray((grid**2).sum(0) < tolerance**2, jnp.float32)[..., None, None]
    lhs = masks[..., None].astype(jnp.float32)
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, disc.shape, _LAYOUTS[masks.ndim - 1])
    grown = jax.lax.conv_general_dilated(lhs, disc, (1,) * (masks.ndim - 1), "SAME", dimension_numbers=numbers)
    return grown[..., 0] > 0.5


_LAYOUTS = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def _or_nan(scores: jax.Array, masks: jax.Array) -> jax.Array:
    return jnp.where(masks.any(tuple(range(1, masks.ndim))), scores, jnp.nan)
