"""A model's forward pass as JAX traces it: a flat list of operations on shapes, from one trace, nothing computed.

Whatever this package says of a model (its layers, multiply-adds, stages, strides, receptive fields, the shapes of its
variables) is read off this trace.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun, jaxprs_in_params

from cnn_jax.ops import convolution

# Operations that do nothing but run another program on their operands.
CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call")


class Value:
    """An array of the program: its shape and type, and its identity."""

    def __init__(self, kind: Any) -> None:
        self.shape: tuple[int, ...] = getattr(kind, "shape", ())
        self.dtype = kind.dtype

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return math.prod(self.shape) * int(self.dtype.itemsize)


class Step(NamedTuple):
    """One operation. `path` leads to the Linen module that it is part of: "stage1_block1/conv1", "" is the model."""

    name: str
    params: dict[str, Any]
    inputs: list[Value]
    outputs: list[Value]
    path: str


class Module(NamedTuple):
    """A Linen module that was called, and the shape of the (first) array that it returned."""

    kind: str
    shape: tuple[int, ...]


class Program(NamedTuple):
    """What a model does with one batch in evaluation mode.

    closed: the program of (key, image, *variables) in JAX's form.
    steps: the same, without calls: every operation in the order of execution.
    image, outputs: the input, and "logits" (not of a backbone) and the named feature maps in the order of the network.
    variables: 'params/stage1_block1/conv1/kernel' -> its array, in the order of the leaves of the model's tree.
    modules: path -> what was called, as they returned.
    """

    closed: ClosedJaxpr
    steps: list[Step]
    image: Value
    outputs: dict[str, Value]
    variables: dict[str, Value]
    modules: dict[str, Module]


def trace(module: nn.Module, input_shape: tuple[int, ...], batch: int = 1) -> Program:
    """The program of `module` on [batch, *input_shape], with XLA's own convolutions.

    The input is float32; for one that reads texts, as its vocabulary says, and a shape of one length, int32.

    The last few programs are kept, so asking again costs nothing: do not change what is returned.
    Raises ValueError where the model refuses the shape.
    """
    try:
        hash(module)
    except TypeError:  # a field of the module is a list
        return _trace(module, input_shape, batch)
    return _kept_trace(module, input_shape, batch)


def _trace(module: nn.Module, input_shape: tuple[int, ...], batch: int) -> Program:
    """Initialisation and forward pass are traced together, which halves the time, and then cut apart."""
    names: list[str] = []
    modules: dict[str, Module] = {}

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        arrays = jax.tree.leaves(out)
        if context.method_name == "__call__" and arrays:
            modules.setdefault("/".join(context.module.path), Module(type(context.module).__name__, arrays[0].shape))
        return out

    def run(key: jax.Array, image: jax.Array) -> Any:
        output, variables = module.init_with_output(key, image, train=False)
        named = _named(output)
        names.extend(named)  # a dict comes out of a trace with its keys sorted
        return list(named.values()), variables

    tokens = len(input_shape) == 1 and getattr(module, "vocabulary", None)
    image = jax.ShapeDtypeStruct((batch, *input_shape), "int32" if tokens else "float32")
    with convolution.lowering("native"), nn.intercept_methods(note):
        both, (outputs, variables) = jax.make_jaxpr(run, return_shape=True)(jax.random.key(0), image)
        drawn = both.jaxpr.outvars[len(outputs) :]
        if len({var for var in drawn if isinstance(var, Var)} - {*both.jaxpr.constvars}) == len(drawn):
            closed = ClosedJaxpr(_forward(both.jaxpr, len(outputs)), both.consts)
        else:  # a scalar that starts as 0 is no variable of this program but a constant in the middle of it
            closed = jax.make_jaxpr(partial(_apply, module, names))(jax.random.key(0), image, variables)
    steps: list[Step] = []
    env = {var: Value(var.aval) for var in (*closed.jaxpr.constvars, *closed.jaxpr.invars)}
    results = _flatten(closed.jaxpr, env, "", steps)
    _, image_var, *given = closed.jaxpr.invars
    return Program(
        closed=closed,
        steps=steps,
        image=env[image_var],
        outputs=dict(zip(names, results, strict=True)),
        variables=dict(zip(flatten_dict(variables, sep="/"), [env[var] for var in given], strict=True)),
        modules=modules,
    )


_kept_trace = lru_cache(maxsize=8)(_trace)


def _apply(module: nn.Module, names: list[str], key: jax.Array, image: jax.Array, variables: Any) -> list[jax.Array]:
    """The arrays called `names`, computed from variables that are given."""
    named = _named(module.apply(variables, image, train=False, rngs={"params": key}))
    return [named[name] for name in names]


def _named(output: Any) -> dict[str, jax.Array]:
    """What a model returned by name: features, with "logits" before them unless it is a backbone.

    What a detector says is called by its place in it, as "logits/0" of the finest level.
    """
    if isinstance(output, dict):
        return output
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], dict):
        return {"logits": output[0], **output[1]}
    leaves = jax.tree.leaves_with_path(output)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def xla_flops(program: Program) -> float:
    """Floating-point operations as XLA counts them before it optimises: every operation, without those on padding."""
    shapes = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in program.closed.jaxpr.invars]
    lowered = jax.jit(jaxpr_as_fun(program.closed)).lower(*shapes)
    return float((lowered.cost_analysis() or {}).get("flops", math.nan))


def _forward(both: Jaxpr, outputs: int) -> Jaxpr:
    """(key, image) -> (outputs, variables) as (key, image, *variables) -> outputs, without the initialisation."""
    variables = both.outvars[outputs:]
    given = {*both.invars, *both.constvars, *variables}
    needed = {var for var in both.outvars[:outputs] if isinstance(var, Var)} - given
    eqns: list[JaxprEqn] = []
    for eqn in reversed(both.eqns):
        if not needed.isdisjoint(eqn.outvars):
            eqns.append(eqn)
            needed |= {var for var in eqn.invars if isinstance(var, Var)} - given
    return both.replace(invars=[*both.invars, *variables], outvars=both.outvars[:outputs], eqns=eqns[::-1])


def _flatten(jaxpr: Jaxpr, env: dict[Var, Value], path: str, steps: list[Step]) -> list[Value]:
    """Appends the operations of `jaxpr` to `steps`; `env` gives its operands. Returns its results."""

    def read(atom: Any) -> Value:
        return Value(atom.aval) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        inputs, name = [read(atom) for atom in eqn.invars], eqn.primitive.name
        here = scopes_of(eqn, path)
        if name in CALLS or name == "cond":
            operands = inputs if name in CALLS else inputs[1:]
            branches = [_flatten(inner, _bind(inner, operands), here, steps) for inner in jaxprs_in_params(eqn.params)]
            outputs = branches[0]
            if len(branches) > 1:  # which one runs is not known: each result depends on all of them
                outputs = [Value(var.aval) for var in eqn.outvars]
                for result, *choices in zip(outputs, *branches, strict=True):
                    steps.append(Step("select_n", {}, choices, [result], module_path(here)))
        else:
            outputs = [Value(var.aval) for var in eqn.outvars]
            steps.append(Step(name, eqn.params, inputs, outputs, module_path(here)))
        env |= zip(eqn.outvars, outputs, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _bind(jaxpr: Jaxpr, operands: list[Value]) -> dict[Var, Value]:
    constants = {var: Value(var.aval) for var in jaxpr.constvars}
    return constants | dict(zip(jaxpr.invars, operands, strict=True))


def scopes_of(eqn: JaxprEqn, outer: str) -> str:
    """The scopes that an equation stands in: those of the call that it is inside of, and its own."""
    return "/".join(part for part in (outer, str(eqn.source_info.name_stack)) if part)


def module_path(scopes: str) -> str:
    """The path below the model, whose own name comes first: "ResNet/stage1_block1/conv1" is "stage1_block1/conv1"."""
    return scopes.partition("/")[2]
