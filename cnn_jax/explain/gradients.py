"""Attributions whose backward pass carries multipliers: guided backpropagation, the deconvnet and DeepLIFT."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn

from cnn_jax.explain.attribution import Score, gradient
from cnn_jax.explain.program import (
    Activations,
    Rules,
    Tracked,
    Value,
    array_of,
    bind,
    by_rules,
    evaluate,
    slope_of_first,
    with_pullback,
)


def guided_backprop(f: Score, x: jax.Array) -> jax.Array:
    """Springenberg et al. 2015, arXiv:1412.6806: at an activation f'(x) max(g, 0) goes back.

    The paper knows relus alone, for which this is its rule and that of captum and zennit. It hardly depends on what a
    network has learned, so keep it for comparison: Adebayo et al. 2018, arXiv:1810.03292.
    """
    return gradient(by_rules(f, Activations(lambda f, xs, g: slope_of_first(f, xs, jnp.maximum(g, 0)))), x)


def deconvnet(f: Score, x: jax.Array) -> jax.Array:
    """Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1: at an activation max(g, 0) goes back, whatever it read."""
    return gradient(by_rules(f, Activations(lambda f, xs, g: jnp.maximum(g, 0))), x)


def deep_lift(f: Score, x: jax.Array, *, reference: jax.Array | float = 0.0) -> jax.Array:
    """DeepLIFT by the rescale rule, Shrikumar et al. 2017, arXiv:1704.02685, section 3.5.1.

    The map adds up to f(x) - f(reference), for every network: products and quotients of two arrays that depend on x
    (squeeze-and-excitation, norms, softmax) share their change exactly, a b - a' b' = (a - a') mean(b) + (b - b')
    mean(a), and so do maxima of two, by the Shapley value. captum and SHAP have no rule for these; where max pooling
    does not overlap they give the change to the largest positions of x and of the reference.

    reference: what x is compared with, [B, ...] or what broadcasts to it.
    """
    reference = jnp.broadcast_to(jnp.asarray(reference, x.dtype), x.shape)
    closed = jax.make_jaxpr(f)(x)
    y, pull = jax.vjp(lambda x: evaluate(closed, _Rescale(), _Pair(x, True, reference)), x)
    return (x - reference) * pull(jnp.ones_like(y))[0]


@dataclass(frozen=True)
class _Pair(Tracked):
    """What a value is for x, and what it is for the reference."""

    reference: Any = None


def _reference(value: Value) -> Any:
    return value.reference if isinstance(value, _Pair) else value


NEAR = 1e-6  # changes below it are taken for none: the slope is then the derivative
BILINEAR = ("mul", "dot_general", "conv_general_dilated", "convolution")
SHARED = (*BILINEAR, "div", "max", "min", "pow", "atan2")


class _Rescale(Rules):
    """The multiplier of a curve is the slope of the line from the reference's point to that of x."""

    def pack(self, value: Value) -> Any:
        return array_of(value), _reference(value)

    def unpack(self, packed: Any) -> Tracked:
        return _Pair(packed[0], False, packed[1])

    def curve(self, f: Callable[..., Any], x: Tracked, constants: Sequence[Any], name: str) -> Value:
        other = _reference(x)

        def pullback(g: Any, x: Any, other: Any, *constants: Any) -> list[Any]:
            derivative = slope_of_first(f, (x, *constants), g)
            ratio = _ratio(f(x, *constants) - f(other, *constants), x - other)
            return [jnp.where(jnp.abs(x - other) < NEAR, derivative, g * ratio), *[None] * (1 + len(constants))]

        y = with_pullback(lambda x, _, *constants: f(x, *constants), pullback, x.array, other, *constants)
        return _Pair(y, False, f(other, *constants))

    def discrete(self, eqn: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        found, others = (bind(eqn, [lax.stop_gradient(of(v)) for v in inputs]) for of in (array_of, _reference))
        return [_Pair(*pair) for pair in zip(found, [False] * len(found), others, strict=True)]

    def other(self, eqn: JaxprEqn, inputs: Sequence[Value], where: str) -> list[Value]:
        name = eqn.primitive.name
        arrays, others = [array_of(value) for value in inputs], [_reference(value) for value in inputs]
        references = bind(eqn, others)
        pairs = [isinstance(value, _Pair) for value in inputs]
        if name == "stop_gradient":  # of the maximum that a softmax subtracts: its change counts
            found = arrays
        elif name == "reduce_max":
            found = [_largest(arrays[0], others[0], eqn.params["axes"])]
        elif name == "select_n" and pairs[0]:
            found = [_chosen(eqn, arrays, others, pairs)]
        elif name in SHARED and len(pairs) == 2 and all(pairs):
            found = [_shared(eqn, arrays, others)]
        else:  # linear, or its derivative has to do
            found = bind(eqn, arrays)
        return [_Pair(*both) for both in zip(found, [False] * len(found), references, strict=True)]


def _ratio(part: Any, change: Any) -> Any:
    near = jnp.abs(change) < NEAR
    return jnp.where(near, 0, part / jnp.where(near, 1, change))


def _shared(eqn: JaxprEqn, arrays: Sequence[Any], others: Sequence[Any]) -> Any:
    """A function of two operands: each gets its part of the change, that is the Shapley value of two players."""
    name, f = eqn.primitive.name, lambda a, b: bind(eqn, [a, b])[0]

    def pullback(g: Any, a: Any, b: Any, oa: Any, ob: Any) -> tuple[Any, ...]:
        if name == "mul" and a.size != b.size:
            swap = a.size < b.size
            point = _statistic(b, ob, a, oa)[::-1] if swap else _statistic(a, oa, b, ob)
            return *jax.vjp(f, *point)[1](g), None, None
        if name in BILINEAR:  # so a derivative does it
            return *jax.vjp(f, (a + oa) / 2, (b + ob) / 2)[1](g), None, None
        if name == "div":  # a times 1 / b, and the slope of 1 / b
            share, inverse = jax.vjp(lax.mul, *_statistic(a, oa, 1 / b, 1 / ob))[1](g)
            return share, -inverse / (b * ob), None, None
        first = (f(a, ob) - f(oa, ob) + f(a, b) - f(oa, b)) / 2
        second = f(a, b) - f(oa, ob) - first
        return g * _ratio(first, a - oa), g * _ratio(second, b - ob), None, None

    return with_pullback(lambda a, b, *_: f(a, b), pullback, *arrays, *others)


def _statistic(a: Any, oa: Any, b: Any, ob: Any) -> tuple[Any, Any]:
    """Where to take the derivative of a b, for a gate or statistic b: (t oa + (1 - t) a, t b + (1 - t) ob).

    The change adds up for every t; 1/2 is the Shapley value. For a reference without variance a norm's ob is a hundred
    times b, and the two parts would cancel but for a few digits: this t takes the harmonic mean of b and ob instead.
    """
    t = jnp.abs(ob) / jnp.maximum(jnp.abs(b) + jnp.abs(ob), jnp.finfo(b.dtype).tiny)
    return t * oa + (1 - t) * a, t * b + (1 - t) * ob


def _largest(x: Any, other: Any, axes: tuple[int, ...]) -> Any:
    """The rule of Shrikumar and captum for maxima: the change goes to the largest positions of x and the reference."""
    f = lambda x: jnp.max(x, axes)  # noqa: E731

    def pullback(g: Any, x: Any, other: Any) -> tuple[Any, None]:
        y, before = f(x), f(other)
        top = jnp.maximum(y, before)
        mine, theirs = jax.vjp(f, x)[1](g * (top - before))[0], jax.vjp(f, other)[1](g * (y - top))[0]
        return _ratio(mine + theirs, x - other), None

    return with_pullback(lambda x, _: f(x), pullback, x, other)


def _chosen(eqn: JaxprEqn, arrays: Sequence[Any], others: Sequence[Any], pairs: Sequence[bool]) -> Any:
    """where(predicate, a, b) with a predicate that depends on x, as in a relu: equal parts to a and b that change."""
    count, parts = len(arrays), sum(pairs[1:])

    def pullback(g: Any, *both: Any) -> list[Any]:
        new, old = both[:count], both[count:]
        change = bind(eqn, new)[0] - bind(eqn, old)[0]
        each = [
            _ratio(change / parts, a - b) if pair and i else None
            for i, (a, b, pair) in enumerate(zip(new, old, pairs, strict=True))
        ]
        return [*(None if ratio is None else g * ratio for ratio in each), *[None] * count]

    return with_pullback(lambda *both: bind(eqn, both[:count])[0], pullback, *arrays, *others)
