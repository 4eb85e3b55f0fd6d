"""Removing what a map ranks first, and putting it back first: how fast the score falls and rises."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.explain.attribution import Score, positions
from cnn_jax.explain.truth.ranking import ranks


def deletion(
    f: Score,
    x: jax.Array,
    attribution: jax.Array,
    key: jax.Array,
    *,
    baseline: jax.Array | float = 0.0,
    steps: int = 28,
) -> jax.Array:
    """The area [B] under the score while positions become `baseline`, the most relevant first. Lower is better.

    Petsiuk et al. 2018, arXiv:1806.07421, section 3.2, where f is the probability of the class that is predicted for
    the whole image and the baseline is 0 after normalisation, which is grey and not black.
    """
    start, end = x, jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    return area(curve(f, start, end, ranks(positions(attribution, x), key), steps))


def insertion(
    f: Score,
    x: jax.Array,
    attribution: jax.Array,
    key: jax.Array,
    *,
    baseline: jax.Array | None = None,
    steps: int = 28,
) -> jax.Array:
    """The area [B] under the score while positions are put back, the most relevant first. Higher is better.

    Petsiuk et al. 2018. baseline: what is there before, by default `blurred(x)` as in the authors' code. Coarse maps
    win here and fine ones in `deletion`: report both.
    """
    start = blurred(x) if baseline is None else jnp.broadcast_to(baseline, x.shape)
    return area(curve(f, start, x, ranks(positions(attribution, x), key), steps))


def pixel_flipping(
    f: Score,
    x: jax.Array,
    attribution: jax.Array,
    key: jax.Array,
    *,
    baseline: jax.Array | float = 0.0,
    steps: int = 28,
) -> jax.Array:
    """The area [B] under the score while single numbers, channel by channel, become `baseline`. Lower is better.

    Bach et al. 2015, doi:10.1371/journal.pone.0130140. The score of the whole input is the first point of the curve;
    Quantus 0.6 leaves it out. A map without channels counts for each of them alike.
    """
    each = attribution if attribution.ndim == x.ndim else jnp.broadcast_to(attribution[..., None], x.shape)
    return area(curve(f, x, jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape), ranks(each, key), steps))


def curve(f: Score, start: jax.Array, end: jax.Array, rank: jax.Array, steps: int) -> jax.Array:
    """Scores [steps + 1, B] while the numbers of `start` become those of `end` in the order of their ranks.

    rank: [B, *spatial], or of the shape of `start` where channels are apart. One version is in memory at a time.
    """
    count = rank[0].size
    rank = rank if rank.ndim == start.ndim else rank[..., None]
    counts = jnp.round(jnp.linspace(0, count, steps + 1)).astype(jnp.int32)
    return jax.lax.map(lambda n: f(jnp.where(rank < n, end, start)), counts)


def area(curve: jax.Array) -> jax.Array:
    """The mean height [B] of a curve [K + 1, B], by the trapezoid rule."""
    return (curve.sum(0) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)


def blurred(x: jax.Array, *, size: int = 11, sigma: float = 5.0) -> jax.Array:
    """x [B, *spatial, C] under the Gaussian of the code of Petsiuk et al. 2018, zeros outside.

    Its kernel is what SciPy's gaussian_filter makes of a single 1 among `size` numbers: what would fall outside is
    folded back, so that it is flatter than a Gaussian.
    """
    reach = int(4 * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    bell = np.exp(-(offset**2) / (2 * sigma**2))
    place = (size // 2 + offset) % (2 * size)
    kernel = np.bincount(np.minimum(place, 2 * size - 1 - place), bell / bell.sum(), size)
    for axis in range(1, x.ndim - 1):
        padded = jnp.pad(x, [(size // 2, size - 1 - size // 2) if i == axis else (0, 0) for i in range(x.ndim)])
        parts = (jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i in range(size))
        x = sum((float(k) * part for k, part in zip(kernel, parts, strict=True)), jnp.zeros_like(x))
    return x
