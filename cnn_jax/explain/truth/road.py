"""ROAD: removal that leaves no trace, because what is removed follows from its neighbours (Rong et al. 2022).

arXiv:2202.00449. A removed position is set to the weighted mean of its eight neighbours, removed ones included: a
linear system over the removed positions, symmetric and positive, which conjugate gradients solve on the whole grid.
"""

import itertools

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from cnn_jax.explain.attribution import Score, positions
from cnn_jax.explain.truth.ranking import ranks

WEIGHTS = (0.0, 1 / 6, 1 / 12)  # of a neighbour by the number of axes along which it lies off: straight, diagonal
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)  # of the positions that are removed
NOISE = 0.01  # standard deviation of what is added, so that a removed region is not conspicuously smooth


def road(
    f: Score, x: jax.Array, attribution: jax.Array, key: jax.Array, *, shares: tuple[float, ...] = SHARES
) -> jax.Array:
    """Half of what is lost more [B] where the most relevant go than where the least relevant go. Higher is better.

    The mean over `shares` of (f without the least relevant - f without the most relevant) / 2, as pytorch-grad-cam's
    ROADCombined with probabilities for f. The authors and Quantus give the accuracy on what is left instead; Quantus
    0.6 fails on images in colour, where it ranks channels apart and imputes positions.
    """
    order, noise = jax.random.split(key)
    rank = ranks(positions(attribution, x), order)
    count = rank[0].size

    def lost(share: jax.Array) -> jax.Array:
        number = jnp.round(share * count).astype(jnp.int32)
        most, least = (f(imputed(x, gone, noise)) for gone in (rank < number, rank >= count - number))
        return (least - most) / 2

    return jax.lax.map(lost, jnp.asarray(shares)).mean(0)


def imputed(x: jax.Array, gone: jax.Array, key: jax.Array | None = None, *, noise: float = NOISE) -> jax.Array:
    """x [B, *spatial, C] with the positions `gone`, bool [B, *spatial], as their neighbours let one expect them.

    At a border the weights of the neighbours that there are add up to 1. key: for the noise, None for none of it.
    """
    mask = gone[..., None]
    degree = _neighbours(jnp.ones((1, *x.shape[1:-1], 1), x.dtype))
    known = jnp.where(mask, 0, x)

    def system(unknown: jax.Array) -> jax.Array:
        unknown = jnp.where(mask, unknown, 0)
        return jnp.where(mask, degree * unknown - _neighbours(unknown), 0)

    filled, _ = cg(system, jnp.where(mask, _neighbours(known), 0), tol=1e-6, maxiter=1000)
    if key is not None:
        filled += noise * jax.random.normal(key, x.shape, x.dtype)
    return jnp.where(mask, filled, x)


def _neighbours(x: jax.Array) -> jax.Array:
    """The weighted sum of the neighbours of each position, zeros outside."""
    rank = x.ndim - 2
    padded = jnp.pad(x, [(0, 0), *[(1, 1)] * rank, (0, 0)])
    total = jnp.zeros_like(x)
    for offset in itertools.product((0, 1, 2), repeat=rank):
        if weight := WEIGHTS[sum(o != 1 for o in offset)]:
            place = tuple(slice(o, o + n) for o, n in zip(offset, x.shape[1:-1], strict=True))
            total += weight * padded[:, *place]
    return total
