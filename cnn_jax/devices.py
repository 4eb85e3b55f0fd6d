"""Devices of a CPU, arranged before JAX starts."""

import os

COUNT = "--xla_force_host_platform_device_count"


def one_host_device_per_core() -> None:
    """Makes each core an XLA device of its own, over which a batch is split; call it before jax is imported.

    Within a step no core then waits for another. It changes nothing on GPU and TPU, nor where XLA_FLAGS already says
    how many devices there should be.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if COUNT not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {COUNT}={len(os.sched_getaffinity(0))}".strip()
