"""What a training has cost: its operations, speed, memory and energy, as results.json keeps them."""

import math
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from cnn_jax.inspect.anatomy import count_macs, products
from cnn_jax.inspect.table import short
from cnn_jax.train.energy import Energy
from cnn_jax.train.peak import peak
from cnn_jax.train.run import Run


def cost(run: Run, rows: Sequence[Mapping[str, Any]], energy: Energy) -> dict[str, Any] | None:
    """The costs of a run that has ended, as JSON; None, with a warning, where a compiler or driver fails to say them.

    multiply_adds: of the model's forward pass on one example, in convolutions and matrix products.
    step_multiply_adds: of a training step, on all devices; loops as often as they turn.
    step_flops: floating-point operations of a step as XLA counts them before it optimises, on all devices: those of
      norms and the optimizer too, but of a loop, as over the parts of optim.accumulate, one turn.
    examples_per_second: the median of the log's rows, without the first, which compiles; null where there is no other.
    peak: operations per second of the devices, see `peak.peak`. share_of_peak: two for each multiply-add of a step,
      times steps per second, over that.
    memory: bytes, the most at once: of a device, or on a CPU of the process, as memory_of says.
    joules, joules_by: see `energy`; of several processes those of the first.

    Args:
      run: after a step of it.
      rows: of its log.
      energy: what it has taken.
    """
    try:
        return _cost(run, rows, energy)
    except Exception as error:  # whatever it is: what was trained must not be lost for it
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(f"what the run has cost is not known: {type(error).__name__}: {reason}", stacklevel=2)
        return None


def _cost(run: Run, rows: Sequence[Mapping[str, Any]], energy: Energy) -> dict[str, Any]:
    size, parallel = run.config.data.batch_size, run.config.compute.parallel
    step, speed = products(run.engine.traced(size).jaxpr), _speed(rows)
    flops = (run.engine.lowered(size).cost_analysis() or {}).get("flops")
    fastest = peak(run.config.compute.precision) * run.engine.devices
    memory, of = _memory()
    return {
        "multiply_adds": count_macs(run.model, run.spec.input.shape),
        "step_multiply_adds": step,
        # Only the program of fsdp is one over all devices.
        "step_flops": None if flops is None else round(flops * (1 if parallel == "fsdp" else run.engine.devices)),
        "examples_per_second": speed,
        "peak": fastest,
        "share_of_peak": None if speed is None else 2 * step * speed / size / fastest,
        "memory": memory,
        "memory_of": of,
        "joules": energy.joules,
        "joules_by": energy.by,
    }


def said(found: Mapping[str, Any]) -> str:
    """The costs in two lines."""
    speed, share, memory, joules = (
        found[name] for name in ("examples_per_second", "share_of_peak", "memory", "joules")
    )
    parts = [f"{short(found['step_multiply_adds'])} multiply-adds a step"]
    if speed is not None:
        parts.append(f"{speed:,.0f} examples/s, {share:.1%} of the speed of a matrix product")
    if memory is not None:
        parts.append(f"at most {short(memory)}B of memory ({found['memory_of']})")
    if joules is not None:
        parts.append(f"{joules / 3.6e6:,.3g} kWh")
    return f"cost: {', '.join(parts)}\n  energy {found['joules_by']}"


def _speed(rows: Sequence[Mapping[str, Any]]) -> float | None:
    found = [row.get("examples_per_second") for row in rows if row["split"] == "train"]
    speeds = [speed for speed in found if isinstance(speed, float) and math.isfinite(speed)]
    return statistics.median(speeds[1:]) if len(speeds) > 1 else None


def _memory() -> tuple[int | None, str]:
    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [found["peak_bytes_in_use"] for found in stats if found and "peak_bytes_in_use" in found]
    if peaks:
        return max(peaks), "device"
    try:
        import resource
    except ImportError:  # Windows
        return None, "process"
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KB, on macOS in bytes
    return most if sys.platform == "darwin" else most * 1024, "process"
