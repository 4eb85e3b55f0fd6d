"""The rules by which layer-wise relevance propagation shares out a linear layer's relevance among its inputs.

rule(op, x, kernel, bias, r) -> relevance of x, for y = op(x, kernel) + bias and the relevance r of y; bias may be None.
Numbers and signs are those of zennit 0.5. Montavon et al. 2019, "Layer-wise relevance propagation: an overview",
tables 10.1 and 10.2, has the formulas.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

Op = Callable[[Any, Any], Any]
Rule = Callable[[Op, Any, Any, Any, Any], Any]
EPSILON = 1e-6


def stabilised(z: Any, epsilon: float) -> Any:
    """z, moved away from 0 by epsilon."""
    return z + jnp.where(z >= 0, epsilon, -epsilon)


def _back(op: Op, x: Any, w: Any, s: Any) -> Any:
    return jax.vjp(lambda x: op(x, w), x)[1](s)[0]


def _plus(a: Any) -> Any:
    return 0 if a is None else jnp.maximum(a, 0)


def _minus(a: Any) -> Any:
    return 0 if a is None else jnp.minimum(a, 0)


def epsilon(op: Op, x: Any, w: Any, b: Any, r: Any, *, epsilon: float = EPSILON) -> Any:
    """Each input by its part of the sum, x w / z; epsilon absorbs what stands on a weak z."""
    z = op(x, w) + (0 if b is None else b)
    return x * _back(op, x, w, r / stabilised(z, epsilon))


def alpha_beta(
    op: Op, x: Any, w: Any, b: Any, r: Any, *, alpha: float = 2.0, beta: float = 1.0, epsilon: float = EPSILON
) -> Any:
    """alpha times by the positive parts, minus beta times by the negative ones; alpha - beta = 1 conserves."""
    xp, xn, wp, wn = _plus(x), _minus(x), _plus(w), _minus(w)
    s = r / stabilised(op(xp, wp) + op(xn, wn) + _plus(b), epsilon)
    found = alpha * (xp * _back(op, x, wp, s) + xn * _back(op, x, wn, s))
    if beta:
        s = r / stabilised(op(xp, wn) + op(xn, wp) + _minus(b), epsilon)
        found -= beta * (xp * _back(op, x, wn, s) + xn * _back(op, x, wp, s))
    return found


z_plus: Rule = partial(alpha_beta, alpha=1.0, beta=0.0)


def gamma(op: Op, x: Any, w: Any, b: Any, r: Any, *, gamma: float = 0.25, epsilon: float = EPSILON) -> Any:
    """Positive parts count 1 + gamma times, for inputs of both signs: Andeol et al. 2021, arXiv:2106.12443."""
    xp, xn = _plus(x), _minus(x)
    up, down = w + gamma * _plus(w), w + gamma * _minus(w)
    bias_up, bias_down = (0 if b is None else b + gamma * part for part in (_plus(b), _minus(b)))
    z = op(x, w) + (0 if b is None else b)
    s = jnp.where(z > 0, r, 0) / stabilised(op(xp, up) + op(xn, down) + bias_up, epsilon)
    t = jnp.where(z < 0, r, 0) / stabilised(op(xp, down) + op(xn, up) + bias_down, epsilon)
    return xp * (_back(op, x, up, s) + _back(op, x, down, t)) + xn * (_back(op, x, down, s) + _back(op, x, up, t))


def flat(op: Op, x: Any, w: Any, b: Any, r: Any, *, epsilon: float = EPSILON) -> Any:
    """In equal parts to all that is read, whatever it is: for the layer that reads the image."""
    one, ones = jnp.ones_like(x), jnp.ones_like(w)
    return _back(op, x, ones, r / stabilised(op(one, ones), epsilon))


def w_square(op: Op, x: Any, w: Any, b: Any, r: Any, *, epsilon: float = EPSILON) -> Any:
    """By the squares of the weights: for inputs that may be any real number."""
    square = jnp.square(w)
    z = op(jnp.ones_like(x), square) + (0 if b is None else jnp.square(b))
    return _back(op, x, square, r / stabilised(z, epsilon))


def z_box(op: Op, x: Any, w: Any, b: Any, r: Any, *, low: Any, high: Any, epsilon: float = EPSILON) -> Any:
    """For inputs that lie in a box, as pixels do. low, high: per channel, in the units that the model reads."""
    lower, upper = (jnp.broadcast_to(jnp.asarray(edge, x.dtype), x.shape) for edge in (low, high))
    wp, wn = _plus(w), _minus(w)
    z = op(x, w) - op(lower, wp) - op(upper, wn) + (0 if b is None else b - _plus(b) - _minus(b))
    s = r / stabilised(z, epsilon)
    return x * _back(op, x, w, s) - lower * _back(op, x, wp, s) - upper * _back(op, x, wn, s)


def unchanged(op: Op, x: Any, w: Any, b: Any, r: Any) -> Any:
    """To the same position: for layers that scale and shift, and mix nothing."""
    return r
