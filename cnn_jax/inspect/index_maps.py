"""Which positions of its operands an operation reads to make a position of its result, operation by operation.

Positions are unbounded, as if the input went on for ever on every side: padding only shifts them. What an operation
reads is given as an interval for each axis of the operand, so that holes (dilation, stride) are filled.
"""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

from cnn_jax.inspect.program import Step

Interval = tuple[int, int]  # first and last position; empty where first > last

# Each position of the result is made of the same position of every operand that is not a scalar.
ELEMENTWISE = frozenset(
    """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type cbrt ceil clamp convert_element_type
    copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p
    logistic lt max min mul name ne neg nextafter not or population_count pow real reduce_precision rem round rsqrt
    select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh
    xor
    """.split()
)
REDUCTIONS = frozenset(
    "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor".split()
)


class Link(NamedTuple):
    """One axis of an operand: the axes of the result that say where along it is read, and how.

    read: intervals along those axes -> the interval that is read. No axes: every position is read.
    """

    axes: tuple[int, ...] = ()
    read: Callable[[list[Interval]], Interval] | None = None


EVERYTHING = Link()


def links(step: Step, operand: int, result: int) -> list[Link] | None:
    """A link for each axis of an operand, None where the result does not read it.

    An operation that is not known here reads everything, which is too much but never too little.
    """
    x, y, params = step.inputs[operand], step.outputs[result], step.params
    rank = len(x.shape)
    same = [_shifted(axis) for axis in range(rank)]
    match step.name:
        case "optimization_barrier":
            return same if operand == result else None
        case name if name in ELEMENTWISE:
            return same if rank == len(y.shape) else [EVERYTHING] * rank
        case name if name in REDUCTIONS:
            return _renumbered(rank, [axis for axis in range(rank) if axis not in params["axes"]])
        case "squeeze":
            return _renumbered(rank, [axis for axis in range(rank) if axis not in params["dimensions"]])
        case "transpose":
            return _renumbered(rank, params["permutation"])
        case "broadcast_in_dim":
            kept = params["broadcast_dimensions"]
            return [_shifted(kept[a]) if x.shape[a] == y.shape[kept[a]] else EVERYTHING for a in range(rank)]
        case "reshape":
            return _reshaped(x.shape, y.shape)
        case "slice":
            strides = params["strides"] or (1,) * rank
            return [_window(a, strides[a], params["start_indices"][a]) for a in range(rank)]
        case "dynamic_slice":
            return [same[a] if n == y.shape[a] else EVERYTHING for a, n in enumerate(x.shape)]
        case "pad" if operand == 0:
            return [
                _window(a, 1, -low, dilation=inside + 1) for a, (low, _, inside) in enumerate(params["padding_config"])
            ]
        case "rev":
            flip = {axis: _mirrored(axis, x.shape[axis]) for axis in params["dimensions"]}
            return [flip.get(axis, same[axis]) for axis in range(rank)]
        case "concatenate":
            sizes = [value.shape[params["dimension"]] for value in step.inputs]
            return _with(same, params["dimension"], _part(params["dimension"], -sum(sizes[:operand]), sizes[operand]))
        case "stack":
            return _stacked(rank, params["axis"], operand)
        case "split":
            return _with(same, params["axis"], _shifted(params["axis"], sum(params["sizes"][:result])))
        case "gather" if operand == 0:
            return _gathered(params, x.shape)
        case "dot_general":
            return _product(params["dimension_numbers"], operand, [len(value.shape) for value in step.inputs])
        case "conv_general_dilated" if operand == 0:
            return _convolved(step)
        case name if name.startswith("reduce_window") and operand == 0:
            return [
                _window(a, stride, -low, (size - 1) * taps, dilation)
                for a, (size, stride, (low, _), taps, dilation) in enumerate(
                    zip(
                        params["window_dimensions"],
                        params["window_strides"],
                        params["padding"],
                        params["window_dilation"],
                        params["base_dilation"],
                        strict=True,
                    )
                )
            ]
    return [EVERYTHING] * rank


def _shifted(axis: int, offset: int = 0) -> Link:
    offset = int(offset)  # NumPy's numbers, which JAX has here and there, would overflow far from the origin
    return Link((axis,), lambda at: (at[0][0] + offset, at[0][1] + offset))


def _mirrored(axis: int, size: int) -> Link:
    return Link((axis,), lambda at: (size - 1 - at[0][1], size - 1 - at[0][0]))


def _part(axis: int, offset: int, size: int) -> Link:
    """What of an interval lies in one of several concatenated operands."""
    return Link((axis,), lambda at: (max(at[0][0] + offset, 0), min(at[0][1] + offset, size - 1)))


def _stacked(rank: int, axis: int, operand: int) -> list[Link]:
    """All axes are kept, around a new one along which each operand has its place."""
    kept = [_shifted(a if a < axis else a + 1) for a in range(rank)]
    batch = Link((*kept[0].axes, axis), lambda at: at[0] if at[1][0] <= operand <= at[1][1] else (1, 0))
    return [batch, *kept[1:]]


def _window(axis: int, stride: int, offset: int, extent: int = 0, dilation: int = 1) -> Link:
    """Position i reads i stride + offset and `extent` more, where only each `dilation`-th position is an input."""
    stride, offset, extent, dilation = int(stride), int(offset), int(extent), int(dilation)
    return Link(
        (axis,),
        lambda at: (-(-(at[0][0] * stride + offset) // dilation), (at[0][1] * stride + offset + extent) // dilation),
    )


def _with(same: list[Link], axis: int, link: Link) -> list[Link]:
    return [*same[:axis], link, *same[axis + 1 :]]


def _renumbered(rank: int, kept: list[int] | tuple[int, ...]) -> list[Link]:
    """The result's axes are the `kept` ones of the operand, in that order."""
    return [_shifted(kept.index(axis)) if axis in kept else EVERYTHING for axis in range(rank)]


def _product(numbers: Any, operand: int, ranks: list[int]) -> list[Link]:
    contracted, batched = (pair[operand] for pair in numbers)
    free = [[a for a in range(rank) if a not in (*c, *b)] for rank, c, b in zip(ranks, *numbers, strict=True)]
    first = len(batched) + (len(free[0]) if operand else 0)
    place = {axis: i for i, axis in enumerate(batched)} | {axis: first + i for i, axis in enumerate(free[operand])}
    return [EVERYTHING if axis in contracted else _shifted(place[axis]) for axis in range(ranks[operand])]


def _gathered(params: dict[str, Any], shape: tuple[int, ...]) -> list[Link]:
    """Axes of which whole slices are taken are kept; where along the others is not known."""
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in dropped]
    place = dict(zip(kept, numbers.offset_dims, strict=True))
    return [_shifted(place[a]) if a in place and sizes[a] == n else EVERYTHING for a, n in enumerate(shape)]


def _convolved(step: Step) -> list[Link]:
    """Of the channels an output channel reads those of its group."""
    params, (x, _), (y,) = step.params, step.inputs, step.outputs
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    (batch, channel, *spatial), (out_batch, out_channel, *out_spatial) = numbers.lhs_spec, numbers.out_spec
    kernel = [step.inputs[1].shape[axis] for axis in numbers.rhs_spec[2:]]
    wide, narrow = x.shape[channel] // groups, y.shape[out_channel] // groups
    found = {
        batch: _shifted(out_batch) if params["batch_group_count"] == 1 else EVERYTHING,
        channel: Link((out_channel,), lambda at: (at[0][0] // narrow * wide, at[0][1] // narrow * wide + wide - 1)),
    }
    for i, axis in enumerate(spatial):
        taps, (low, _) = params["rhs_dilation"][i], params["padding"][i]
        extent = (kernel[i] - 1) * taps
        found[axis] = _window(out_spatial[i], params["window_strides"][i], -low, extent, params["lhs_dilation"][i])
    return [found[axis] for axis in range(len(x.shape))]


def _reshaped(before: tuple[int, ...], after: tuple[int, ...]) -> list[Link]:
    """Axes fall into the smallest groups of equal size before and after; positions in a group are numbered in order."""
    result: list[Link] = []
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [i] if i < len(before) else [], [j] if j < len(after) else []
        while (left := math.prod(before[a] for a in old)) != (right := math.prod(after[a] for a in new)):
            group, start = (old, i) if left < right else (new, j)
            group.append(start + len(group))
        i, j = i + len(old), j + len(new)
        result += [
            _regrouped([before[a] for a in old], [after[a] for a in new], tuple(new), k) for k in range(len(old))
        ]
    return result


def _regrouped(old: list[int], new: list[int], axes: tuple[int, ...], place: int) -> Link:
    """The link of axis `place` of a group of axes of sizes `old` that became `axes` of sizes `new`."""
    if not new:
        return EVERYTHING  # an axis of size 1 that is gone
    weights, steps = ([*accumulate([1, *sizes[:0:-1]], lambda a, b: a * b)][::-1] for sizes in (new, old))

    def read(at: list[Interval]) -> Interval:
        low, high = (sum(w * interval[end] for w, interval in zip(weights, at, strict=True)) for end in (0, 1))
        low, high = low // steps[place], high // steps[place]
        if place == 0:
            return low, high  # the outermost axis is the one that goes on for ever
        n = old[place]
        return (low % n, high % n) if low // n == high // n else (0, n - 1)

    return Link(axes, read)
