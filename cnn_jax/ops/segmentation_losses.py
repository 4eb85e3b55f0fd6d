"""Losses of segmentation: what the logits of all pixels cost.

Each is `loss(logits [B, H, W, K], truth int32 [B, H, W], counted float32 [B, H, W], *, weight, ...)`, and returns its
terms {name: (sum, count)}. The loss is the sum of sum / count over the terms, with counts of the batches of all
devices. counted is 1 where a pixel counts and 0 where it does not, where truth is 0 and says nothing.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

Terms = Mapping[str, tuple[jax.Array, jax.Array]]
Loss = Callable[[jax.Array, jax.Array, jax.Array], Terms]


def total(*losses: Loss) -> Loss:
    """Several losses added up. Raises ValueError where two have terms of one name."""

    def all_of(logits: jax.Array, truth: jax.Array, counted: jax.Array) -> Terms:
        terms: dict[str, tuple[jax.Array, jax.Array]] = {}
        for loss in losses:
            found = loss(logits, truth, counted)
            if twice := sorted(set(found) & set(terms)):
                raise ValueError(f"two losses have the term '{twice[0]}'")
            terms |= found
        return terms

    return all_of


def cross_entropy(logits: jax.Array, truth: jax.Array, counted: jax.Array, *, weight: float = 1.0) -> Terms:
    """The mean over pixels of minus the logarithm of the probability of the true class."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), truth)
    return {"cross_entropy": (weight * (losses * counted).sum(), counted.sum())}
