"""What a model consists of and costs: layers, parameters, multiply-adds and memory, from its traced program."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import flax.linen as nn
from jax.extend.core import Jaxpr, jaxprs_in_params

from cnn_jax.inspect.program import Program, Value, module_path, scopes_of, trace
from cnn_jax.ops import conv_primitives

PRODUCTS = ("conv_general_dilated", "dot_general")
OWN = tuple(
    p.name for p in (conv_primitives.forward_p, conv_primitives.input_gradient_p, conv_primitives.weight_gradient_p)
)
VIEWS = ("reshape", "squeeze")  # another shape of the same memory


def variable_shapes(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """'params/stage1_block1/conv1/kernel' -> shape, of all variables on examples of `input_shape`."""
    return {path: value.shape for path, value in trace(module, input_shape).variables.items()}


def count_params(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Trainable numbers of `module` on examples of `input_shape`."""
    shapes = variable_shapes(module, input_shape)
    return sum(math.prod(shape) for path, shape in shapes.items() if path.startswith("params/"))


def count_macs(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of all convolutions and matrix products in one forward pass at batch 1."""
    return multiply_adds(trace(module, input_shape)).total()


class Layer(NamedTuple):
    """A module with parameters or products of its own. shape: of what it returned; macs: multiply-adds of the batch."""

    path: str
    kind: str
    shape: tuple[int, ...]
    params: int
    macs: int


def layers(program: Program) -> list[Layer]:
    """The layers in the order of execution. Their parameters and multiply-adds add up to those of the model."""
    modules = program.modules
    params: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for path, value in program.variables.items():
        collection, *words = path.split("/")
        if collection == "params":
            params[_owner(modules, words)] += math.prod(value.shape)
    for path, count in multiply_adds(program).items():
        macs[_owner(modules, path.split("/"))] += count
    return [
        Layer(path, module.kind, module.shape, params[path], macs[path])
        for path, module in modules.items()
        if params[path] or macs[path]
    ]


def _owner(modules: Mapping[str, Any], words: list[str]) -> str:
    """The path of the innermost module that a longer path leads through."""
    while words and "/".join(words) not in modules:
        words = words[:-1]
    return "/".join(words)


def multiply_adds(program: Program) -> Counter[str]:
    """Path of a module -> multiply-adds of the convolutions and matrix products in it, for the traced batch.

    A scan counts as often as it runs, a while loop once; of several branches only the most expensive one counts.
    """
    return _multiply_adds(program.closed.jaxpr, "")


def products(jaxpr: Jaxpr) -> int:
    """Multiply-adds of the convolutions and matrix products in any program, over all devices that it runs on."""
    return _multiply_adds(jaxpr, "").total()


def _multiply_adds(jaxpr: Jaxpr, outer: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for eqn in jaxpr.eqns:
        name, scopes = eqn.primitive.name, scopes_of(eqn, outer)
        if name in PRODUCTS:
            shapes = [getattr(var.aval, "shape", ()) for var in (*eqn.invars, *eqn.outvars)]
            found[module_path(scopes)] += _macs(name, eqn.params, shapes)
        elif name in OWN:  # each of the three takes every product of the forward pass once
            geometry = eqn.params["geometry"]
            found[module_path(scopes)] += math.prod(geometry.out_shape) * math.prod(geometry.kernel_shape[:-1])
        inside = [_multiply_adds(inner, scopes) for inner in jaxprs_in_params(eqn.params)]
        if name == "cond":
            inside = [max(inside, key=Counter.total)]
        times = 1
        if name == "scan":
            times = eqn.params["length"]
        elif name == "shard_map":  # the program of one device
            times = eqn.params["mesh"].size
        for counts in inside:
            found.update({path: times * count for path, count in counts.items()})
    return found


def _macs(name: str, params: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]) -> int:
    """Multiply-adds of a convolution or matrix product. shapes: of both operands and of the result."""
    left, right, out = shapes
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(out) * math.prod(left[i] for i in contracted)
    taps = math.prod(right) // right[params["dimension_numbers"].rhs_spec[0]]
    # a transposed convolution: all but one in lhs_dilation taps meet the zeros between its inputs
    return math.prod(out) * taps // math.prod(params["lhs_dilation"])


class Memory(NamedTuple):
    """Bytes of activations: the most that a forward pass holds at once, and what it keeps for a backward pass."""

    forward: int
    training: int


def activation_memory(program: Program) -> Memory:
    """What the activations of the traced batch take, where everything between products is fused into them.

    The operands and results of convolutions and matrix products are arrays in memory; norms, activations, sums and
    poolings between them are not. Backward passes need all of these arrays, forward passes each until its last use.
    Weights, gradients, optimizer and the compiler's workspace come on top: what XLA sets aside on a CPU was 0.9 to 1.8
    times `forward` and 1.4 to 2.5 times `training` for four networks of the package.
    """
    stored = _stored(program)
    reads: dict[Value, frozenset[Value]] = {program.image: frozenset({program.image})}
    born, last = {program.image: 0}, {program.image: 0}
    for time, step in enumerate(program.steps):
        read = frozenset().union(*(reads.get(value, ()) for value in step.inputs))
        for value in step.outputs if read else ():
            reads[value] = read
            if value in stored:
                reads[value] = frozenset({value})
                born[value] = last[value] = time
                last |= dict.fromkeys(read, time)
    changes = sorted([(born[value], value.bytes) for value in born] + [(last[v] + 0.5, -v.bytes) for v in last])
    return Memory(max(accumulate(change for _, change in changes)), sum(value.bytes for value in born))


def _stored(program: Program) -> set[Value]:
    """The values that are arrays in memory: what products read and make."""
    origin: dict[Value, Value] = {}
    stored: set[Value] = set()
    for step in program.steps:
        if step.name in VIEWS:
            origin[step.outputs[0]] = origin.get(step.inputs[0], step.inputs[0])
        elif step.name in PRODUCTS:
            stored |= {origin.get(value, value) for value in step.inputs} | {*step.outputs}
    return stored
