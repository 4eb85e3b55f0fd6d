"""Attributions that are means of gradients: over noise, along a path, over references.

All are sums over versions of x, of which `chunk` are in memory at once at most (the largest divisor of their number).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.explain.attribution import Score, gradient
from cnn_jax.ops.chunks import chunk_size, sum_chunks


def input_x_gradient(f: Score, x: jax.Array, *, reference: jax.Array | float = 0.0) -> jax.Array:
    """(x - reference) df / dx: for a network that is linear between the two, the difference of its scores."""
    return (x - reference) * gradient(f, x)


def smooth_grad(
    f: Score, x: jax.Array, *, key: jax.Array, samples: int = 48, noise: float = 0.15, chunk: int = 8
) -> jax.Array:
    """The mean gradient at x plus normal noise: Smilkov et al. 2017, arXiv:1706.03825.

    noise: its standard deviation as a share of the largest minus the smallest number of that example, as the paper has
      it; captum's `stdevs` are absolute, and PAIR squares the gradients by default, which is `square_grad`.
    """
    return _moments(f, x, key, samples, noise, chunk)[0]


def square_grad(
    f: Score, x: jax.Array, *, key: jax.Array, samples: int = 48, noise: float = 0.15, chunk: int = 8
) -> jax.Array:
    """The mean of the squared gradients under noise: captum's smoothgrad_sq, PAIR's magnitude."""
    mean, deviations = _moments(f, x, key, samples, noise, chunk)
    return jnp.square(mean) + deviations / samples


def var_grad(
    f: Score, x: jax.Array, *, key: jax.Array, samples: int = 48, noise: float = 0.15, chunk: int = 8
) -> jax.Array:
    """The variance of the gradients under noise, over samples - 1: Adebayo et al. 2018, arXiv:1806.10758.

    By Welford's sums; captum's E[g^2] - E[g]^2 over all samples can be negative.
    """
    return _moments(f, x, key, samples, noise, chunk)[1] / (samples - 1)


def noisy(x: jax.Array, key: jax.Array, noise: float) -> jax.Array:
    """x plus normal noise, whose standard deviation is `noise` times the range of each example."""
    axes = tuple(range(1, x.ndim))
    spread = x.max(axes, keepdims=True) - x.min(axes, keepdims=True)
    return x + noise * spread * jax.random.normal(key, x.shape, x.dtype)


def _moments(
    f: Score, x: jax.Array, key: jax.Array, samples: int, noise: float, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """The mean of the noisy gradients, and the sum of their squared deviations from it (Chan et al. 1983)."""
    size = chunk_size(samples, 1, chunk)

    def merge(carry: tuple[Any, Any, Any], keys: jax.Array) -> tuple[tuple[Any, Any, Any], None]:
        count, mean, deviations = carry
        found = jax.vmap(lambda key: gradient(f, noisy(x, key, noise)))(keys)
        here = found.mean(0)
        total = count + size
        deviations += jnp.square(found - here).sum(0) + jnp.square(here - mean) * (count * size / total)
        return (total, mean + (here - mean) * (size / total), deviations), None

    start = (jnp.zeros((), x.dtype), jnp.zeros_like(x), jnp.zeros_like(x))
    (_, mean, deviations), _ = lax.scan(merge, start, jax.random.split(key, samples).reshape(-1, size))
    return mean, deviations


def integrated_gradients(
    f: Score,
    x: jax.Array,
    *,
    reference: jax.Array | float = 0.0,
    steps: int = 50,
    chunk: int = 10,
    variant: Literal["captum", "pair"] = "captum",
) -> jax.Array:
    """(x - reference) times the mean gradient on the line between them: Sundararajan et al. 2017, arXiv:1703.01365.

    The map adds up to f(x) - f(reference) but for the error of the sum: print the gap, and raise `steps`.

    variant: where on the line: "captum" at the nodes of Gauss and Legendre, "pair" at 0, 1 / (steps - 1), ..., 1, all
      alike, as PAIR does. captum's "riemann_trapezoid" is short by one part in `steps`, and is not offered.
    """
    if variant == "captum":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        nodes, weights = (nodes + 1) / 2, weights / 2
    else:
        nodes, weights = np.linspace(0, 1, steps), np.full(steps, 1 / steps)
    change = x - reference

    def part(nodes: jax.Array, weights: jax.Array) -> jax.Array:
        found = jax.vmap(lambda a: gradient(f, reference + a * change))(nodes)
        return jnp.tensordot(weights, found, 1)

    arrays = (jnp.asarray(nodes, x.dtype), jnp.asarray(weights, x.dtype))
    return change * sum_chunks(part, arrays, 1, chunk)


def expected_gradients(
    f: Score,
    x: jax.Array,
    *,
    references: jax.Array,
    key: jax.Array,
    samples: int = 48,
    noise: float = 0.0,
    chunk: int = 8,
) -> jax.Array:
    """Integrated gradients over many references, one random point of one line a sample: Erion et al. 2021.

    arXiv:1906.10670, equation 3. With noise it is GradientSHAP as captum and SHAP (PyTorch) compute it: normal noise is
    added to the input before the line is drawn, and counts in its length.

    references: [R, ...] examples, as of the training set. noise: absolute, as captum's `stdevs`.
    """

    def one(key: jax.Array) -> jax.Array:
        which, where, what = jax.random.split(key, 3)
        batch = (x.shape[0], *[1] * (x.ndim - 1))
        reference = references[jax.random.randint(which, batch[:1], 0, len(references))]
        change = x + noise * jax.random.normal(what, x.shape, x.dtype) - reference
        point = reference + jax.random.uniform(where, batch, x.dtype) * change
        return change * gradient(f, point)

    keys = jax.random.split(key, samples)
    return sum_chunks(lambda keys: jax.vmap(one)(keys).sum(0), (keys,), 1, chunk) / samples


gradient_shap = partial(expected_gradients, noise=0.09)


def mean_over_references(
    method: Callable[..., jax.Array], f: Score, x: jax.Array, references: jax.Array, chunk: int = 4
) -> jax.Array:
    """The mean of a method's maps over its reference: DeepLIFT so is DeepSHAP (Lundberg & Lee 2017)."""
    one = lambda reference: method(f, x, reference=reference)  # noqa: E731
    return sum_chunks(lambda part: jax.vmap(one)(part).sum(0), (references,), 1, chunk) / len(references)
