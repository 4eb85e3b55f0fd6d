"""What a training takes in energy: read from the GPUs' own counters, or estimated from what the CPU worked.

The estimate takes WATTS for each core while it works, or what the environment variable CNN_JAX_WATTS says. Memory,
disks, cooling and what a core takes when it waits are in neither.
"""

import ctypes
import math
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import jax

KEPT = "joules"  # with a checkpoint: what the run had taken by then
SETTING = "CNN_JAX_WATTS"  # environment variable: watts of a core
WATTS = 12.0  # of a core of an unknown CPU, as Green Algorithms takes it (Lannelongue et al. 2021; its TDP_cpu.csv)
LIBRARY = "libnvidia-ml.so.1"  # NVML, which comes with the driver of NVIDIA's GPUs


class Energy(NamedTuple):
    """joules: None where they are not known. by: how they were found, in words."""

    joules: float | None
    by: str


def meter() -> Callable[[], Energy]:
    """Begins to measure; the function that is returned says what this process's devices have taken since then.

    Raises ValueError where CNN_JAX_WATTS is no number.
    """
    watts = _watts()
    if jax.default_backend() == "cpu":
        worked = time.process_time()
        by = f"estimated: {watts:g} W for each second that a core worked ({SETTING} changes it)"
        return lambda: Energy(watts * (time.process_time() - worked), by)
    counters = _counters([device.local_hardware_id for device in jax.local_devices()])
    if counters is None:
        return lambda: Energy(None, f"not measured: {jax.devices()[0].device_kind} has no counter that NVML reads")
    begun = counters()
    return lambda: Energy(counters() - begun, "measured by NVML: the boards of the GPUs, not the machine around them")


def going_on(used: Callable[[], Energy], before: object) -> Callable[[], Energy]:
    """What a run has taken in all: now `used`, and `before` what its checkpoint kept, if anything."""
    earlier = before if isinstance(before, int | float) and 0 <= before < 1e300 else 0.0

    def total() -> Energy:
        joules, by = used()
        return Energy(None if joules is None else joules + earlier, by)

    return total


def _watts() -> float:
    text = os.environ.get(SETTING) or str(WATTS)
    try:
        watts = float(text)
    except ValueError:
        watts = math.nan
    if not 0 <= watts < 1e6:
        raise ValueError(f"{SETTING}={text}: write the watts of a core, as {SETTING}={WATTS:g}")
    return watts


def _counters(ids: list[int | None]) -> Callable[[], float] | None:
    """Joules that the GPUs have taken since their driver was loaded, together; None where NVML does not say.

    ids: of the GPUs among those that CUDA_VISIBLE_DEVICES lets this process see, which it takes for NVML's order.
    """
    try:
        nvml = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    handles = []
    if nvml.nvmlInit_v2() != 0:
        return None
    for number in ids:
        name = visible[number or 0] if visible else str(number or 0)
        handle = ctypes.c_void_p()
        if name.isdecimal():
            failed = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(handle))
        else:
            failed = nvml.nvmlDeviceGetHandleByUUID(ctypes.c_char_p(name.encode()), ctypes.byref(handle))
        if failed or _millijoules(nvml, handle) is None:
            return None
        handles.append(handle)
    return lambda: sum((_millijoules(nvml, handle) or 0) for handle in handles) / 1000


def _millijoules(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> int | None:
    found = ctypes.c_ulonglong()
    return None if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(found)) else found.value
