"""Functions whose equal parts are computed once.

XLA leaves out what a program computes a second time, but for loops and branches, as which convolutions are computed on
a CPU. So two functions that each apply a model to the same arrays would apply it twice.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

SMALL = 4096  # numbers of a constant that are compared
Known = dict[Any, tuple[list[Any], list[Any]]]  # by operation and operands the results; and the operands, to keep them
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")  # what they call is looked into


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, in which an operation that occurs again on the same arrays is left out.

    It cannot be differentiated by the rules of a `custom_jvp` in it.
    """

    def call(*args: Any) -> Any:
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        found = _evaluated(traced, jax.tree.leaves(args), {})
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    return call


def _evaluated(traced: ClosedJaxpr, args: Sequence[Any], known: Known) -> list[Any]:
    """The results of a jaxpr."""
    jaxpr: Jaxpr = traced.jaxpr
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*traced.consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        inner = next((equation.params[name] for name in ("jaxpr", "call_jaxpr") if name in equation.params), None)
        if equation.primitive.name in CALLS and isinstance(inner, ClosedJaxpr):
            results = _evaluated(inner, operands, known)
        else:
            results = _computed(equation, operands, known)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _computed(equation: Any, operands: list[Any], known: Known) -> list[Any]:
    atoms = [(_name(operand), atom.aval) for atom, operand in zip(equation.invars, operands, strict=True)]
    key: Any = (equation.primitive, *atoms, *sorted(equation.params.items()))
    try:
        if not equation.effects and key in known:
            return known[key][0]
    except TypeError:  # parameters that cannot be compared
        key = object()
    with equation.ctx.manager:
        found = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(equation.params))
    results = list(found) if equation.primitive.multiple_results else [found]
    known[key] = (results, operands)
    return results


def _name(operand: Any) -> Any:
    """What an operand is known by: a constant, which each trace makes anew, by its content where that is small."""
    constant = isinstance(operand, bool | int | float | complex | np.generic | np.ndarray | jax.Array)
    if not constant or isinstance(operand, jax.core.Tracer) or np.size(operand) > SMALL:
        return id(operand)
    if isinstance(operand, jax.Array) and jax.dtypes.issubdtype(operand.dtype, jax.dtypes.extended):
        return id(operand)
    return np.asarray(operand).tobytes()
