"""A function's program, run with other rules: what attribution methods are made of.

`jax.make_jaxpr` gives the program of a function; `run` evaluates it equation by equation and enters every call in it:
jit, remat, custom derivatives and scan. `Rules` may put another function in the place of an equation that depends on
the input, as a `jax.custom_vjp` of the same value with another pullback. So an attribution is one ordinary `jax.vjp`,
which can be compiled, mapped and split over devices; nothing is hooked, and no model is changed. A functional or a
reused relu is an equation like any other.

Compile it: run one operation at a time, a deep network takes minutes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from cnn_jax.explain.attribution import LayerScore, Score
from cnn_jax.inspect.program import CALLS, scopes_of
from cnn_jax.lookup import did_you_mean
from cnn_jax.ops.entry import ENTRY

# jax.nn's activations are jitted functions or have a derivative of their own: each is ONE equation, by its name.
ACTIVATIONS = frozenset(
    """celu elu gelu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid mish relu relu6 selu sigmoid
    silu soft_sign softplus squareplus swish""".split()
)
# Elementwise functions of one operand, each with a slope of its own; the first line are activations by themselves.
SQUASHING = frozenset("clamp logistic max min tanh".split())
CURVES = SQUASHING | frozenset(
    """abs asinh atan cbrt cos erf erf_inv erfc exp exp2 expm1 integer_pow log log1p pow rsqrt sin sqrt square
    tan""".split()
)


@dataclass(frozen=True)
class Tracked:
    """An array that depends on the input. raw: it is the input, moved, scaled and shifted at most."""

    array: Any
    raw: bool = False


Value = Any  # Tracked, or an array that no input changes


def array_of(value: Value) -> Any:
    """The array itself."""
    return value.array if isinstance(value, Tracked) else value


class Rules:
    """What is put in the place of equations that depend on the input. By default nothing: that gives the gradient."""

    def pack(self, value: Value) -> Any:
        """A value as arrays, for the border of a scan."""
        return array_of(value)

    def unpack(self, packed: Any) -> Tracked:
        """The way back."""
        return Tracked(packed)

    def curve(self, f: Callable[..., Any], x: Tracked, constants: Sequence[Any], name: str) -> Value:
        """f(x, *constants), elementwise. name: of ACTIVATIONS or CURVES, or "div" for a constant over x."""
        return Tracked(f(array_of(x), *constants))

    def other(self, eqn: JaxprEqn, inputs: Sequence[Value], where: str) -> list[Value]:
        """What any other equation gives."""
        return [Tracked(array) for array in bind(eqn, [array_of(value) for value in inputs])]

    def discrete(self, eqn: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        """What an equation gives that makes no real numbers: a place, a comparison. It carries no derivative."""
        return bind(eqn, [lax.stop_gradient(array_of(value)) for value in inputs])


class Activations(Rules):
    """The gradient, in which back(f, xs, g) goes back to x from an activation f(*xs), xs = (x, *constants)."""

    def __init__(self, back: Callable[[Callable[..., Any], Sequence[Any], Any], Any]) -> None:
        self.back = back

    def curve(self, f: Callable[..., Any], x: Tracked, constants: Sequence[Any], name: str) -> Value:
        if name not in ACTIVATIONS | SQUASHING:
            return super().curve(f, x, constants, name)
        rest = [None] * len(constants)
        return Tracked(with_pullback(f, lambda g, *xs: (self.back(f, xs, g), *rest), x.array, *constants))


def slope_of_first(f: Callable[..., Any], xs: Sequence[Any], g: Any) -> Any:
    """g times the derivative of f(*xs) by the first of its operands."""
    return jax.vjp(lambda x: f(x, *xs[1:]), xs[0])[1](g)[0]


def bind(eqn: JaxprEqn, arrays: Sequence[Any]) -> list[Any]:
    """The results of an equation for other operands."""
    out = eqn.primitive.bind(*arrays, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


def evaluate(closed: ClosedJaxpr, rules: Rules, x: Tracked) -> Any:
    """The one result of the program of a function of one array."""
    (y,) = run(closed.jaxpr, closed.consts, [x], rules)
    return array_of(y)


def by_rules(f: Score, rules: Rules) -> Score:
    """f, of the same values, with the derivative that the rules give it."""
    return lambda x: evaluate(jax.make_jaxpr(f)(x), rules, Tracked(x, raw=True))


def live(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The program without the equations that its results do not depend on."""
    needed, kept = {id(atom) for atom in closed.jaxpr.outvars}, list[JaxprEqn]()
    for eqn in reversed(closed.jaxpr.eqns):
        if needed.intersection(map(id, eqn.outvars)):
            needed.update(map(id, eqn.invars))
            kept.append(eqn)
    return closed.replace(jaxpr=closed.jaxpr.replace(eqns=kept[::-1]))


def run(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Value], rules: Rules, where: str = "") -> list[Value]:
    """The results of `jaxpr`, by `rules`. Raises ValueError for a loop that goes on as long as the input says."""
    env: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    env |= zip(jaxpr.invars, args, strict=True)

    def read(atom: Any) -> Value:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        env |= zip(eqn.outvars, _results(eqn, inputs, rules, scopes_of(eqn, where)), strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _results(eqn: JaxprEqn, inputs: list[Value], rules: Rules, where: str) -> list[Value]:
    name = eqn.primitive.name
    places = [place for place, value in enumerate(inputs) if isinstance(value, Tracked)]
    if not places:
        return bind(eqn, inputs)
    if name in CALLS:
        inner = _inside(eqn)
        if eqn.params.get("name") in ACTIVATIONS and len(places) == len(eqn.outvars) == 1:
            return [rules.curve(*_of_one(jaxpr_as_fun(inner), inputs, places[0]), eqn.params["name"])]
        return run(inner.jaxpr, inner.consts, inputs, rules, where)
    if not any(_is_real(var.aval) for var in eqn.outvars):
        return rules.discrete(eqn, inputs)
    if name == "scan":
        return _scan(eqn, inputs, rules, where)
    if name in ("while", "cond"):
        raise ValueError(f"no rule for the '{name}' in {where or 'the model'}, whose way depends on the input")
    if len(places) == 1 and (name in CURVES or (name == "div" and places == [1])):
        return [rules.curve(*_of_one(lambda *arrays: bind(eqn, arrays), inputs, places[0]), name)]
    return rules.other(eqn, inputs, where)


def _of_one(f: Callable[..., Sequence[Any]], values: list[Value], place: int) -> tuple[Any, Tracked, list[Any]]:
    """The first result of f as a function of one operand before the others; that operand, and those."""
    return lambda x, *rest: f(*rest[:place], x, *rest[place:])[0], values[place], values[:place] + values[place + 1 :]


def _is_real(kind: Any) -> bool:
    return jnp.issubdtype(kind.dtype, jnp.floating)


def _inside(eqn: JaxprEqn) -> ClosedJaxpr:
    """The program that a call runs."""
    inner = next(eqn.params[key] for key in ("call_jaxpr", "jaxpr", "fun_jaxpr") if key in eqn.params)
    return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())


def _scan(eqn: JaxprEqn, inputs: list[Value], rules: Rules, where: str) -> list[Value]:
    """The same scan with a body that is run by the rules. Real numbers that it carries are taken to depend on x."""
    params, body = eqn.params, eqn.params["jaxpr"]
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    tracked = [isinstance(value, Tracked) for value in inputs]
    tracked[first:last] = [_is_real(var.aval) for var in body.jaxpr.invars[first:last]]
    packed = [rules.pack(value) if flag else array_of(value) for value, flag in zip(inputs, tracked, strict=True)]
    results: list[bool] = []  # which of the body's results depend on the input

    def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        given = [*packed[:first], *carry, *xs]
        values = [rules.unpack(value) if flag else value for value, flag in zip(given, tracked, strict=True)]
        out = run(body.jaxpr, body.consts, values, rules, where)
        results[:] = [*tracked[first:last], *(isinstance(value, Tracked) for value in out[last - first :])]
        arrays = [rules.pack(value) if flag else array_of(value) for value, flag in zip(out, results, strict=True)]
        return arrays[: last - first], arrays[last - first :]

    how = {name: params[name] for name in ("length", "reverse", "unroll")}
    carry, ys = lax.scan(step, packed[first:last], packed[last:], **how)
    return [rules.unpack(value) if flag else value for value, flag in zip([*carry, *ys], results, strict=True)]


def with_pullback(f: Callable[..., Any], pullback: Callable[..., Any], *xs: Any) -> Any:
    """f(*xs), whose cotangent g goes back as pullback(g, *xs): for each of xs an array, or None where none goes.

    Arrays are among xs even if no cotangent goes to them: in the body of a scan nothing may be closed over.
    """
    g = jax.custom_vjp(lambda *xs: f(*xs))
    g.defvjp(lambda *xs: (f(*xs), xs), lambda xs, ct: tuple(pullback(ct, *xs)))
    return g(*xs)


def split(g: LayerScore, x: jax.Array, layer: str) -> tuple[jax.Array, Score]:
    """Cuts a model at one of its feature maps: the map [B, ...] for x, and the scores [B] as a function of that map.

    Where scores depend on x along another way too, as in a U-Net, that way is what it is for x.

    Raises ValueError for a layer that the model has not, or that its scores do not depend on.
    """
    closed, (_, shapes) = jax.make_jaxpr(g, return_shape=True)(x)
    names = list(shapes)
    if layer not in names:
        raise ValueError(f"the model has no layer '{layer}': {did_you_mean(layer, names)}")
    place = 1 + sorted(names).index(layer)  # a mapping's leaves come by name
    cut = _cut(closed, closed.jaxpr.outvars[place], closed.jaxpr.outvars[:1], x)
    if cut is None:
        raise ValueError(f"what is explained does not depend on the layer '{layer}': name another one")
    feature, ending = cut
    return feature, lambda feature: ending(feature)[0]


def entered(f: Callable[[jax.Array], Any], given: jax.Array) -> tuple[jax.Array, Callable[[jax.Array], Any]] | None:
    """Cuts a model f where it says `ops.entry.entry`: the array there, and what f returns as a function of that array.

    What else depends on `given`, as which tokens are padding, is what it is for that. None where nothing is marked.
    """
    closed, shape = jax.make_jaxpr(f, return_shape=True)(given)
    marked = (eqn for eqn in closed.jaxpr.eqns if eqn.primitive.name == "name" and eqn.params["name"] == ENTRY)
    eqn = next(marked, None)
    cut = None if eqn is None else _cut(closed, eqn.outvars[0], closed.jaxpr.outvars, given)
    if cut is None:
        return None
    x, ending = cut
    return x, lambda x: jax.tree.unflatten(jax.tree.structure(shape), ending(x))


def _cut(
    closed: ClosedJaxpr, var: Any, results: Sequence[Any], x: jax.Array
) -> tuple[jax.Array, Callable[[jax.Array], Sequence[Any]]] | None:
    """The value of `var` in the program of x, and `results` as a function of it; None where they do not depend on it.

    Results that are known before `var` are as they are for x.
    """
    eqns = closed.jaxpr.eqns
    at = next((i for i, eqn in enumerate(eqns, 1) if var in eqn.outvars), 0)
    after = [atom for eqn in eqns[at:] for atom in eqn.invars if not isinstance(atom, Literal)]
    if not at or var not in after:
        return None
    made = {out for eqn in eqns[:at] for out in eqn.outvars}
    needed = [*after, *(atom for atom in results if not isinstance(atom, Literal))]
    others = list(dict.fromkeys(atom for atom in needed if atom in made and atom is not var))
    given = [*closed.jaxpr.constvars, *closed.jaxpr.invars]
    head = closed.jaxpr.replace(eqns=eqns[:at], outvars=[var, *others])
    tail = closed.jaxpr.replace(constvars=[], invars=[*given, var, *others], eqns=eqns[at:], outvars=list(results))
    feature, *rest = jaxpr_as_fun(ClosedJaxpr(head, closed.consts))(x)
    ending = jaxpr_as_fun(ClosedJaxpr(tail, ()))
    return feature, lambda feature: ending(*closed.consts, x, feature, *rest)
