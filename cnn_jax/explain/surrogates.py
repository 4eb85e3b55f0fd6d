"""What each segment of an image counts, by a linear model of the scores of its parts: KernelSHAP and LIME."""

from itertools import combinations
from math import comb

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.explain.attribution import Score
from cnn_jax.explain.perturbation import scores_of_parts


def kernel_shap(
    f: Score,
    x: jax.Array,
    *,
    segments: jax.Array,
    count: int,
    samples: int = 1024,
    seed: int = 0,
    reference: jax.Array | float = 0.0,
    chunk: int = 16,
) -> jax.Array:
    """The Shapley value of each segment, for every position of it: Lundberg & Lee 2017, arXiv:1705.07874, theorem 2.

    As SHAP does, subsets of few and of nearly all segments are enumerated, the others drawn in pairs of a subset and
    its complement, and the values add up to f(x) - f(reference) exactly. Where `samples` allow all 2^count - 2 subsets
    the values are exact. captum draws all of them and ties the ends by a weight, which is noisier.

    segments: [B, *spatial] with numbers below `count`.
    """
    shown, weights = coalitions(count, samples, seed)
    ends = np.stack([np.zeros(count), np.ones(count)])
    scores = scores_of_parts(f, x, segments, np.concatenate([ends, shown]), reference=reference, chunk=chunk)
    empty, whole, rest = scores[0], scores[1], scores[2:]
    # sum(values) = whole - empty: the last one is put in as what the others leave
    a = jnp.asarray(shown[:, :-1] - shown[:, -1:], x.dtype)
    b = rest - empty - jnp.asarray(shown[:, -1:], x.dtype) * (whole - empty)
    root = jnp.sqrt(jnp.asarray(weights, x.dtype))[:, None]
    values = jnp.linalg.lstsq(a * root, b * root)[0]
    values = jnp.concatenate([values, (whole - empty - values.sum(0))[None]])
    return jax.vmap(lambda value, where: value[where])(values.T, segments)


def coalitions(count: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Subsets [N, count] of 0 and 1 and their weights [N], neither empty nor whole.

    Sizes are in pairs, k and count - k.

    Raises ValueError for fewer than two segments.
    """
    if count < 2:
        raise ValueError(f"{count} segments: KernelSHAP shares a score among two or more")
    sizes = range(1, count // 2 + 1)
    weight = {k: (count - 1) / (k * (count - k)) * (1 if 2 * k == count else 2) for k in sizes}
    found: list[np.ndarray] = []
    weights: list[float] = []
    left = samples
    enumerated = 0
    for k in sizes:
        both = comb(count, k) * (1 if 2 * k == count else 2)
        if both > left:
            break
        for chosen in combinations(range(count), k):
            row = np.zeros(count)
            row[list(chosen)] = 1
            found += [row] if 2 * k == count else [row, 1 - row]
        weights += [weight[k] / both] * both
        left, enumerated = left - both, k
    rest = [k for k in sizes if k > enumerated]
    if rest and left > 1:
        draw = np.random.default_rng(seed)
        chance = np.array([weight[k] for k in rest])
        for k in draw.choice(rest, left // 2, p=chance / chance.sum()):
            row = np.zeros(count)
            row[draw.permutation(count)[:k]] = 1
            found += [row, 1 - row]
        weights += [chance.sum() / (2 * (left // 2))] * (2 * (left // 2))
    return np.stack(found), np.array(weights)


def lime(
    f: Score,
    x: jax.Array,
    *,
    segments: jax.Array,
    count: int,
    samples: int = 1024,
    seed: int = 0,
    width: float = 0.25,
    ridge: float = 1.0,
    reference: jax.Array | float = 0.0,
    chunk: int = 16,
) -> jax.Array:
    """The slope of a linear model of the scores by segment: Ribeiro et al. 2016, arXiv:1602.04938, section 3.4.

    As the authors' `lime_image`: half of the segments are shown at random, the first time all; a sample counts
    exp(-d^2 / width^2)^(1/2) with d the cosine distance of its mask from all ones; ridge regression with an
    intercept. captum measures the distance between images instead.
    """
    shown = np.random.default_rng(seed).integers(0, 2, (samples, count)).astype(np.float64)
    shown[0] = 1
    distance = 1 - np.sqrt(shown.mean(1))  # cosine of a mask with the mask of ones
    weights = np.sqrt(np.exp(-np.square(distance) / width**2))
    scores = scores_of_parts(f, x, segments, shown, reference=reference, chunk=chunk)
    share = jnp.asarray(weights / weights.sum(), x.dtype)[:, None]
    z = jnp.asarray(shown, x.dtype)
    centred, lost = z - (share * z).sum(0), scores - (share * scores).sum(0)
    weighted = centred.T * jnp.asarray(weights, x.dtype)
    slopes = jnp.linalg.solve(weighted @ centred + ridge * jnp.eye(count, dtype=x.dtype), weighted @ lost)
    return jax.vmap(lambda value, where: value[where])(slopes.T, segments)
