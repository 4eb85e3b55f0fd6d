"""The part of the input that each position of a feature map sees, by the structure of the model."""

import math
from fractions import Fraction
from typing import NamedTuple

import flax.linen as nn

from cnn_jax.inspect.index_maps import Interval, Link, links
from cnn_jax.inspect.program import Program, Value, trace

FAR = math.lcm(*range(1, 65))  # positions between the two that give the stride: a multiple of every upsampling


class Field(NamedTuple):
    """What position i of a feature map sees of the input along one axis: start + i stride, and size - 1 more.

    After upsampling by n that is so for every n-th position i; those between may see a little less or more.

    size: 0 where all paths lead through something that sees everything, such as global pooling, and in flattened maps.
    stride: input positions from one position of the map to the next (the "jump"); below 1 where the map is larger.
    start: of position 0, counted from the first pixel; negative by what the model pads.
    everything: some path sees the whole axis (squeeze-and-excitation, instance statistics, global pooling).
    """

    size: int
    stride: Fraction
    start: int
    everything: bool

    @property
    def centre(self) -> float:
        """Middle of what position 0 sees: 0 is the centre of the first pixel."""
        return self.start + (self.size - 1) / 2


def receptive_fields(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[Field, ...]]:
    """Feature name -> its field along each spatial axis of the input [*spatial, C], in the order of the network.

    Derived from the traced program, so exact for whatever the model does, with the fields of Araujo, Norris & Sim 2019,
    "Computing receptive fields of convolutional neural networks" (doi:10.23915/distill.00021), where those are
    defined. Borders are ignored: a field may be larger than the input. Raises ValueError where the model refuses the
    shape.
    """
    return fields_of(trace(module, input_shape))


def fields_of(program: Program) -> dict[str, tuple[Field, ...]]:
    """`receptive_fields` of a program that is traced already."""
    flow = _flow(program)
    return {name: _fields(program, flow, value) for name, value in program.outputs.items() if name != "logits"}


class _Edge(NamedTuple):
    """A value and one that is computed from it.

    links: for each axis of `source`, which positions of it a position of `target` reads.
    pooled: the axes of `source` of which every position of `target` reads all positions (global pooling).
    """

    source: Value
    target: Value
    links: list[Link]
    pooled: frozenset[int]


class _Flow(NamedTuple):
    """What depends on the image. edges: in the order of execution. Of each value and spatial axis of the image,
    carriers: the axes along which its positions see different parts; everything: whether it sees all of it."""

    edges: list[_Edge]
    carriers: dict[Value, list[frozenset[int]]]
    everything: dict[Value, frozenset[int]]


def _flow(program: Program) -> _Flow:
    dims = range(len(program.image.shape) - 2)
    flow = _Flow([], {program.image: [frozenset({d + 1}) for d in dims]}, {program.image: frozenset()})
    for step in program.steps:
        for operand, source in enumerate(step.inputs):
            if source not in flow.carriers:
                continue
            before = flow.carriers[source]
            for result, target in enumerate(step.outputs):
                found = links(step, operand, result)
                if found is None:
                    continue
                after = [frozenset(to for axis in axes for to in found[axis].axes) for axes in before]
                pooled = frozenset(d for d in dims if before[d] and not after[d])
                flow.edges.append(_Edge(source, target, found, frozenset().union(*(before[d] for d in pooled))))
                flow.carriers[target] = [a | b for a, b in zip(after, flow.carriers.get(target, after), strict=True)]
                seen = flow.everything[source] | pooled
                flow.everything[target] = flow.everything.get(target, frozenset()) | seen
    return flow


def _fields(program: Program, flow: _Flow, value: Value) -> tuple[Field, ...]:
    here, there = (_seen(program, flow, value, position) for position in (0, FAR))
    fields = []
    for d, (near, far) in enumerate(zip(here, there, strict=True)):
        flat = value in flow.carriers and len(value.shape) - 1 in flow.carriers[value][d]  # positions became channels
        everything = flat or d in flow.everything.get(value, ())
        if near is None or far is None or flat:
            fields.append(Field(0, Fraction(0), 0, everything))
        else:
            fields.append(Field(near[1] - near[0] + 1, Fraction(far[0] - near[0], FAR), near[0], everything))
    return tuple(fields)


def _seen(program: Program, flow: _Flow, value: Value, position: int) -> list[Interval | None]:
    """What `value` at `position` of all its spatial axes sees of the image along each of them, pooling left out."""
    spatial = frozenset().union(*flow.carriers.get(value, ()))
    start = [(position, position) if axis in spatial else (0, n - 1) for axis, n in enumerate(value.shape)]
    boxes: dict[Value, list[Interval | None]] = {value: [*start]}
    for source, target, found, pooled in reversed(flow.edges):
        if target not in boxes:
            continue
        box = [
            None if axis in pooled else _read(link, boxes[target], source.shape[axis])
            for axis, link in enumerate(found)
        ]
        if all(interval is None or interval[0] <= interval[1] for interval in box):
            boxes[source] = [*map(_hull, box, boxes.get(source, box))]
    image = boxes.get(program.image)
    return image[1:-1] if image else [None] * (len(program.image.shape) - 2)


def _read(link: Link, box: list[Interval | None], size: int) -> Interval | None:
    if link.read is None:
        return 0, size - 1
    at = [interval for axis in link.axes if (interval := box[axis])]
    return link.read(at) if len(at) == len(link.axes) else None


def _hull(a: Interval | None, b: Interval | None) -> Interval | None:
    return (min(a[0], b[0]), max(a[1], b[1])) if a and b else a or b
