"""How few positions a map singles out. Both numbers depend on the size of a map: compare maps of one size alone."""

import jax
import jax.numpy as jnp


def sparseness(attribution: jax.Array) -> jax.Array:
    """The Gini index [B] of the sizes of a map's numbers, 0 for a constant map and near 1 for a single peak.

    Chalasani et al. 2020, arXiv:1810.06583, section 4, with the 1e-7 that Quantus adds. Higher is sparser.
    """
    sizes = jnp.sort(jnp.abs(attribution.reshape(len(attribution), -1)) + 1e-7, axis=-1)
    count = sizes.shape[-1]
    return ((2 * jnp.arange(1, count + 1) - count - 1) * sizes).sum(-1) / (count * sizes.sum(-1))


def complexity(attribution: jax.Array) -> jax.Array:
    """The entropy [B], in nats, of the shares that a map's numbers have in the sum of their sizes. Lower is simpler.

    Bhatt et al. 2020, arXiv:2005.00631, section 4.3. A map of zeros has the entropy of a constant one.
    """
    sizes = jnp.abs(attribution.reshape(len(attribution), -1))
    total = sizes.sum(-1, keepdims=True)
    shares = jnp.where(total > 0, sizes / jnp.where(total > 0, total, 1), 1 / sizes.shape[-1])
    return -(shares * jnp.log(shares + 1e-12)).sum(-1)
