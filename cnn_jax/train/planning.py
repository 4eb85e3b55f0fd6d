"""What a training would take on many devices, from its step compiled for as many simulated ones: nothing is computed.

The compiler is XLA's for CPUs, whatever the devices will be. What collectives move comes out as on GPUs for jit; for
fsdp it is an upper bound, since the compilers of GPUs and TPUs turn sums of which each device keeps a part into
reduce-scatter, and gather no parameters twice. Memory comes out roughly: each compiler orders and fuses in its own way,
and on a CPU products in bfloat16 are computed in float32.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import jax

from cnn_jax.inspect import traffic
from cnn_jax.inspect.anatomy import products
from cnn_jax.inspect.compiled import computations
from cnn_jax.inspect.table import short
from cnn_jax.train.run import Run
from cnn_jax.train.state import Tree

GIGA = 10**9
SURE = 0.75  # of the memory: what is planned for more than that may not fit, as compilers differ
FITS, MAY_NOT, DOES_NOT = "fits", "may not fit", "does not fit"
# TFLOP/s that ResNet-50's training attains on an H200 (docs/accelerator.md), by the type of activations.
ATTAINED = {"float32": 90.0, "bfloat16": 150.0, "float16": 150.0}


class Plan(NamedTuple):
    """What one device of `devices` holds and does in a training step.

    parameters: numbers of the whole model. state: bytes of the state and the batch. temporary: bytes of all else at the
    fullest moment. multiply_adds: of a step, in convolutions and matrix products. payload: kind of collective -> bytes
    of the results. sent: bytes, see `traffic.sent`.
    """

    devices: int
    parallel: str
    batch: int
    parameters: int
    state: int
    temporary: int
    multiply_adds: int
    payload: Mapping[str, int]
    sent: float

    @property
    def memory(self) -> int:
        return self.state + self.temporary


def plan(run: Run) -> Plan:
    """Compiles the step of `run` for its devices."""
    config, devices = run.config, run.engine.devices
    compiled = run.engine.lowered(config.data.batch_size).compile()
    sizes, parts = compiled.memory_analysis(), computations(compiled.as_text() or "")
    payload = Counter[str]()
    for part in parts:
        payload.update({kind: size * part.times for kind, size in traffic.payload(part.text).items()})
    assert sizes  # as CPUs have it
    return Plan(
        devices,
        config.compute.parallel,
        config.data.batch_size,
        _numbers(run.engine.target.params),
        sizes.argument_size_in_bytes,
        # Results that take the place of arguments need no memory of their own.
        sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        products(run.engine.traced(config.data.batch_size).jaxpr) // devices,
        {kind: size for kind, size in payload.items() if size},
        sum(traffic.sent(part.text, devices) * part.times for part in parts),
    )


def verdict(found: Plan, memory: float) -> str:
    """Whether it fits into `memory` bytes of each device."""
    return FITS if found.memory <= SURE * memory else MAY_NOT if found.memory <= memory else DOES_NOT


def efficiency(found: Plan, speed: float, link: float) -> tuple[float, float]:
    """Scaling efficiency: images per second over `devices` times those of one device with the same part of a batch.

    Where the collectives wait for the computation to end, and where all goes on at once. Latency does not count, nor
    input, nor devices that wait for a slower one.

    Args:
      speed: operations per second that a device attains; a multiply-add is two.
      link: bytes per second that a device sends while it receives as many.
    """
    compute, move = 2 * found.multiply_adds / speed, found.sent / link
    return (compute / (compute + move), compute / max(compute, move)) if move else (1.0, 1.0)


def description(found: Plan, memory: float, speed: float, link: float) -> str:
    """The plan in lines; see `verdict` and `efficiency`."""
    low, high = efficiency(found, speed, link)
    moved = [f"{kind} {_bytes(size)}" for kind, size in sorted(found.payload.items())]
    bound = ", an upper bound for fsdp" if found.parallel == "fsdp" else ""
    compute, move = 2 * found.multiply_adds / speed, found.sent / link
    return "\n".join(
        [
            f"memory         {_bytes(found.memory)} of {_bytes(memory)} a device "
            f"({found.memory / memory:.0%}): {verdict(found, memory)}",
            f"               state and batch {_bytes(found.state)}, activations and the rest "
            f"{_bytes(found.temporary)}, as XLA plans for a CPU",
            f"parameters     {found.parameters:,} ({_bytes(4 * found.parameters)} in float32)",
            f"collectives    {', '.join(moved) or 'none'}",
            f"               each device sends {_bytes(found.sent)} a step{bound}",
            f"computation    {short(found.multiply_adds)} multiply-adds a device and step: {1e3 * compute:,.3g} ms at "
            f"{speed / 1e12:,.6g} TFLOP/s",
            f"communication  {1e3 * move:,.3g} ms at {link / GIGA:,.6g} GB/s",
            f"efficiency     {low:.0%} where communication waits for the computation, {high:.0%} where both overlap; "
            "without latency and input",
        ]
    )


def _numbers(params: Tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _bytes(count: float) -> str:
    return f"{short(count)}B"
