"""Cores and memory of a CPU, arranged before JAX starts."""

import os
import sys
from pathlib import Path

COUNT = "--xla_force_host_platform_device_count"
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
ON_REQUEST = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def one_host_device_per_core() -> None:
    """Makes each core an XLA device of its own, over which a batch is split; call it before jax is imported.

    Within a step no core then waits for another. It changes nothing on GPU and TPU, nor where XLA_FLAGS already says
    how many devices there should be.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if COUNT not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {COUNT}={len(os.sched_getaffinity(0))}".strip()


def ask_for_huge_pages() -> None:
    """Starts this process again, once, with a C library that asks Linux for pages of 2 MB in place of 4 KB.

    XLA gives the memory of a step back to the system and takes it anew for the next one; that it is handed out and
    cleared in small pages costs up to a third of a training step. The C library reads this wish only when a process
    starts. Nothing happens where GLIBC_TUNABLES has a wish already, or where Linux does not let a process choose.
    """
    tunables = os.environ.get(TUNABLES, "")
    if "hugetlb" in tunables or not ON_REQUEST.is_file() or "[madvise]" not in ON_REQUEST.read_text():
        return
    os.environ[TUNABLES] = f"{tunables}:{HUGE_PAGES}".lstrip(":")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
