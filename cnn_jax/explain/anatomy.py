"""What a model consists of and costs: layers, parameters, multiply-adds and memory, from its traced program."""

import math
from itertools import accumulate
from typing import Any, NamedTuple

import jax

from cnn_jax.explain.program import Program, Value
from cnn_jax.models.variant import operation_macs

PRODUCTS = ("conv_general_dilated", "dot_general")
VIEWS = ("reshape", "squeeze")  # another shape of the same memory


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
    params, macs = dict.fromkeys(modules, 0), dict.fromkeys(modules, 0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(program.variables.get("params", {})):
        params[_owner(modules, [str(key.key) for key in path])] += math.prod(leaf.shape)
    for step in program.steps:
        shapes = [value.shape for value in (*step.inputs, *step.outputs)]
        macs[_owner(modules, step.path.split("/"))] += operation_macs(step.name, step.params, shapes)
    return [
        Layer(path, module.kind, module.shape, params[path], macs[path])
        for path, module in modules.items()
        if params[path] or macs[path]
    ]


def _owner(modules: dict[str, Any], words: list[str]) -> str:
    """The path of the innermost module that a longer path leads through."""
    while words and "/".join(words) not in modules:
        words = words[:-1]
    return "/".join(words)


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
