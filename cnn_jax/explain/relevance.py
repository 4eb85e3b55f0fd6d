"""Layer-wise relevance propagation (LRP) through any traced function: Bach et al. 2015, PLOS ONE 10(7) e0130140.

The cotangent of the program IS the relevance. Convolutions and matrix products stay lazy until somebody reads them:
constants that multiply or shift their channels are folded into kernel and bias first. That merges a BatchNorm into the
layer before it, for every model and without a list of layers; unmerged, relevance is neither conserved nor meaningful.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn

from cnn_jax.explain import lrp_rules
from cnn_jax.explain.attribution import Score
from cnn_jax.explain.lrp_rules import EPSILON, Op, Rule, stabilised
from cnn_jax.explain.program import Rules, Tracked, Value, array_of, bind, by_rules, with_pullback


class Composite(NamedTuple):
    """Which rule a layer has: conv, dense; first: what reads the input itself, None: as the others.

    scale: a norm that no linear layer precedes, as in a pre-activation network.
    """

    conv: Rule = lrp_rules.epsilon
    dense: Rule = lrp_rules.epsilon
    first: Rule | None = None
    scale: Rule = lrp_rules.unchanged


# By zennit's names, but for the first.
COMPOSITES = {
    "epsilon": Composite(),
    "epsilon_plus": Composite(conv=lrp_rules.z_plus),
    "epsilon_plus_flat": Composite(conv=lrp_rules.z_plus, first=lrp_rules.flat),
    "epsilon_gamma": Composite(conv=lrp_rules.gamma),
    "epsilon_alpha2_beta1": Composite(conv=lrp_rules.alpha_beta),
    "epsilon_alpha2_beta1_flat": Composite(conv=lrp_rules.alpha_beta, first=lrp_rules.flat),
}


def lrp(f: Score, x: jax.Array, *, composite: Composite = COMPOSITES["epsilon"]) -> jax.Array:
    """The relevance of x, of which there is f(x) in all. Explain logits: nothing is defined for a softmax.

    What biases and epsilon absorb is missing in the sum, so say sum / f(x) with the map.
    """
    y, pull = jax.vjp(by_rules(f, rules_of(composite)), x)
    return pull(y)[0]


def rules_of(composite: Composite) -> Rules:
    """LRP as rules for a program."""
    return _Relevance(composite)


@dataclass(frozen=True)
class _Affine(Tracked):
    """A layer that is not computed yet: op(x, kernel) + bias, whose channels come last. kind: conv, dense or scale."""

    op: Op = lax.mul
    kernel: Any = None
    bias: Any = None
    kind: str = "scale"
    shape: tuple[int, ...] = ()
    rule: Rule = lrp_rules.unchanged

    def scaled(self, c: Any) -> "_Affine":
        c = jnp.ravel(c)
        return replace(self, kernel=self.kernel * c, bias=None if self.bias is None else self.bias * c)

    def shifted(self, c: Any) -> "_Affine":
        c = jnp.broadcast_to(jnp.ravel(c), self.kernel.shape[-1:])
        return replace(self, bias=c if self.bias is None else self.bias + c)

    def moved(self, eqn: JaxprEqn) -> "_Affine":
        """After an operation that moves positions and leaves the channels, which the bias does not see."""
        op = self.op
        return replace(self, op=lambda x, w: bind(eqn, [op(x, w)])[0], shape=_out_shape(eqn))

    @cached_property
    def result(self) -> Any:
        """What it computes; read twice, it is one layer."""
        forward = lambda x, w, b: self.op(x, w) + (0 if b is None else b)  # noqa: E731
        back = lambda r, x, w, b: (self.rule(self.op, x, w, b, r), None, None)  # noqa: E731
        return with_pullback(forward, back, self.array, self.kernel, self.bias)


def _read(value: Value) -> Any:
    return value.result if isinstance(value, _Affine) else array_of(value)


# Each element of the result is one of an operand, to which its relevance goes; of several the largest or chosen one.
MOVES = frozenset(
    """broadcast_in_dim concatenate convert_element_type copy copy_p dynamic_slice dynamic_update_slice expand_dims
    gather max min optimization_barrier pad pcast pvary reduce_max reduce_min reduce_precision reshape rev
    reduce_window_max select_n slice sort split squeeze stack stop_gradient top_k transpose""".split()
)
# Those of them that a layer may wait for, where the last axis stays as it is.
AROUND = ("reshape", "squeeze", "expand_dims", "slice", "convert_element_type", "copy", "optimization_barrier")
LINEAR = ("cumsum", "conv_general_dilated", "convolution", "dot_general", "reduce_sum", "reduce_window_sum")


class _Relevance(Rules):
    def __init__(self, composite: Composite) -> None:
        self.composite = composite

    def pack(self, value: Value) -> Any:
        return _read(value)

    def curve(self, f: Callable[..., Any], x: Tracked, constants: Sequence[Any], name: str) -> Value:
        if name in ("exp", "exp2"):  # relevance would be shared out among numbers that nearly cancel
            raise ValueError("LRP is not defined for exp, as of a softmax: explain a logit, or by another method")
        rest = [None] * len(constants)
        return Tracked(with_pullback(f, lambda r, *_: (r, *rest), _read(x), *constants))

    def discrete(self, eqn: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        return bind(eqn, [lax.stop_gradient(_read(value)) for value in inputs])

    def other(self, eqn: JaxprEqn, inputs: Sequence[Value], where: str) -> list[Value]:
        name = eqn.primitive.name
        places = [place for place, value in enumerate(inputs) if isinstance(value, Tracked)]
        if len(places) == 1 and (alone := self._alone(eqn, inputs, places[0])) is not None:
            return [alone]
        if name in MOVES:
            raw = name not in ("max", "min") and all(_is_raw(inputs[place]) for place in places)
            return [Tracked(array, raw) for array in bind(eqn, [_read(value) for value in inputs])]
        if len(places) == 1 and name in LINEAR:
            return [Tracked(_proportional(eqn, inputs, places))]
        if len(places) == len(inputs) == 2 and name in ("add", "add_any", "sub"):
            return [Tracked(_proportional(eqn, inputs, places))]
        if len(places) == len(inputs) == 2 and name in ("mul", "div"):
            return [Tracked(_product(eqn, *(_read(value) for value in inputs)))]
        where = f" in {where}" if where else ""
        raise ValueError(f"LRP has no rule for '{name}' of {len(places)} arrays{where}: use another method")

    def _alone(self, eqn: JaxprEqn, inputs: Sequence[Value], place: int) -> Value | None:
        """What an equation gives that stays lazy, with one operand that depends on the input; None of any other."""
        name, me, others = eqn.primitive.name, inputs[place], [*inputs[:place], *inputs[place + 1 :]]
        if isinstance(me, _Affine) and name in AROUND and me.kind != "scale":
            return me.moved(eqn) if _out_shape(eqn)[-1:] == me.shape[-1:] else None
        if place == 0 and (kind := _kind(eqn, others)):
            first = self.composite.first if me.raw and not isinstance(me, _Affine) else None
            rule = first or (self.composite.conv if kind == "conv" else self.composite.dense)
            op = lambda x, w: bind(eqn, [x, w])[0]  # noqa: E731
            return _Affine(_read(me), False, op, others[0], None, kind, _out_shape(eqn), rule)
        match name:
            case "neg":
                return self._scaled(me, -1.0)
            case "sub" if place == 1:
                return self._shifted(self._scaled(me, -1.0), others[0])
            case "add" | "add_any":
                return self._shifted(me, others[0])
            case "sub":
                return self._shifted(me, -others[0])
            case "mul":
                return self._scaled(me, others[0])
            case "div":
                return self._scaled(me, 1 / others[0])
        return None

    def _lazy(self, me: Tracked) -> _Affine:
        if isinstance(me, _Affine):
            return me
        ones = jnp.ones(me.array.shape[-1:], me.array.dtype)
        return _Affine(me.array, me.raw, lambda x, w: x * w, ones, None, "scale", me.array.shape, self.composite.scale)

    def _scaled(self, me: Tracked, c: Any) -> Value:
        if _of_channels(c, _shape(me)):
            return self._lazy(me).scaled(jnp.asarray(c, _read_dtype(me)))
        # By a constant of its own for each position, or for each position and channel.
        return Tracked(with_pullback(lax.mul, lambda r, x, c: (_gathered(r, x), None), _read(me), c), _is_raw(me))

    def _shifted(self, me: Tracked, c: Any) -> Value:
        if _of_channels(c, _shape(me)):
            return self._lazy(me).shifted(c)
        back = lambda r, x, c: (r * x / stabilised(x + c, EPSILON), None)  # noqa: E731
        return Tracked(with_pullback(lax.add, back, _read(me), c), _is_raw(me))


def _gathered(r: Any, x: Any) -> Any:
    """The relevance of x, which a constant has repeated along axes of one number, as a LayerNorm does."""
    axes = tuple(i for i, (many, one) in enumerate(zip(r.shape, x.shape, strict=True)) if many != one)
    return r.sum(axes, keepdims=True)


def _out_shape(eqn: JaxprEqn) -> tuple[int, ...]:
    kind: Any = eqn.outvars[0].aval
    return kind.shape


def _is_raw(value: Value) -> bool:
    return value.raw and (not isinstance(value, _Affine) or value.kind == "scale")


def _shape(me: Tracked) -> tuple[int, ...]:
    return me.shape if isinstance(me, _Affine) else me.array.shape


def _read_dtype(me: Tracked) -> Any:
    return (me.kernel if isinstance(me, _Affine) else me.array).dtype


def _of_channels(c: Any, shape: tuple[int, ...]) -> bool:
    """Whether a constant is one number, or one for each channel of an array of that shape."""
    size = jnp.shape(c)
    return not size or (all(n == 1 for n in size[:-1]) and len(size) <= len(shape) and size[-1] in (1, shape[-1]))


def _kind(eqn: JaxprEqn, others: Sequence[Any]) -> str:
    """'conv' or 'dense' for a layer with a constant kernel whose channels come last, else ''."""
    name, rank = eqn.primitive.name, len(_out_shape(eqn))
    if name == "convolution":
        return "conv"
    if name == "conv_general_dilated":
        numbers = eqn.params["dimension_numbers"]
        return "conv" if numbers.out_spec[1] == rank - 1 and numbers.rhs_spec[0] == rank - 1 else ""
    if name == "dot_general":
        contracted, batched = eqn.params["dimension_numbers"]
        return "dense" if batched == ((), ()) and others[0].ndim == 2 and tuple(contracted[1]) == (0,) else ""
    return ""


def _proportional(eqn: JaxprEqn, inputs: Sequence[Value], places: Sequence[int]) -> Any:
    """An equation that is linear in all its operands that depend on the input: each gets its share of the result."""

    def back(r: Any, *xs: Any) -> list[Any]:
        z, pull = jax.vjp(lambda *xs: bind(eqn, xs)[0], *xs)
        shares = pull(r / stabilised(z, EPSILON))
        return [x * s if place in places else None for place, (x, s) in enumerate(zip(xs, shares, strict=True))]

    return with_pullback(lambda *xs: bind(eqn, xs)[0], back, *(_read(value) for value in inputs))


def _product(eqn: JaxprEqn, a: Any, b: Any) -> Any:
    """The signal takes it all: a gate or statistic, which is the smaller array, and a divisor are held constant."""

    def back(r: Any, a: Any, b: Any) -> tuple[Any, Any]:
        if eqn.primitive.name == "mul" and a.size == b.size:
            return r / 2, r / 2
        return (None, r) if eqn.primitive.name == "mul" and a.size < b.size else (r, None)

    return with_pullback(lambda a, b: bind(eqn, [a, b])[0], back, a, b)
