"""Cores and memory of a CPU."""

import ctypes
import functools
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COUNT = "--xla_force_host_platform_device_count"
SCHEDULER, LEAST_MEMORY = "--xla_cpu_scheduler_type", "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
ON_REQUEST = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Of a container: the microseconds of CPU time that it may use in each period, or "max" (cgroup version 2); the same in
# two files, or -1 (version 1).
QUOTAS = (
    (Path("/sys/fs/cgroup/cpu.max"),),
    (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")),
)
MEMORY = Path("/sys/fs/cgroup/memory.max")  # bytes


def cores() -> int:
    """How many cores this process may use: those it is bound to, or fewer where a container has a quota."""
    bound = getattr(os, "sched_getaffinity", None)  # which only Linux has
    found = len(bound(0)) if bound else os.cpu_count() or 1
    for files in QUOTAS:
        try:
            quota, period = (int(word) for file in files for word in file.read_text().split())
        except (OSError, ValueError):  # no such file, or no quota
            continue
        if quota > 0 and period > 0:
            found = min(found, max(1, -(-quota // period)))
    return found


def memory() -> int:
    """Bytes of memory that this machine has, or that its container may use; where neither is known, no limit."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no such function
        found = sys.maxsize
    try:
        text = MEMORY.read_text(encoding="utf-8").strip()
    except OSError:
        return found
    return min(found, int(text)) if text.isdecimal() else found  # it may say "max"


def set_xla_flags() -> None:
    """How XLA uses a CPU; call it before jax is imported. It changes nothing on GPU and TPU.

    Each core becomes a device of its own, over which a batch is split, so that within a step no core waits for another.
    A device then runs one operation at a time, so the order of operations may be the one that needs the least memory:
    it saves up to 40 % of a step's arrays and some of its time. What XLA_FLAGS already says stands.
    """
    words = [os.environ.get("XLA_FLAGS", "")]
    for name, value in ((COUNT, cores()), (SCHEDULER, LEAST_MEMORY)):
        if name not in words[0]:
            words.append(f"{name}={value}")
    os.environ["XLA_FLAGS"] = " ".join(words).strip()


def ask_for_huge_pages() -> None:
    """Starts this process again, once, with a C library that asks Linux for pages of 2 MB in place of 4 KB.

    XLA gives the memory of a step back to the system and takes it anew for the next one; that it is handed out and
    cleared in small pages costs up to a third of a training step. The C library reads this wish only when a process
    starts. Nothing happens where GLIBC_TUNABLES has a wish already, or where Linux does not let a process choose.
    """
    tunables = os.environ.get(TUNABLES, "")
    if "hugetlb" in tunables or not ON_REQUEST.is_file() or "[madvise]" not in ON_REQUEST.read_text(encoding="utf-8"):
        return
    os.environ[TUNABLES] = f"{tunables}:{HUGE_PAGES}".lstrip(":")
    if sys.stdout:  # not where a shell has closed it by >&-
        sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextmanager
def without_collection() -> Iterator[None]:
    """Within it Python looks for no garbage in cycles, nor afterwards among what was made in the first such piece.

    To import JAX and to trace a model makes very many small objects, which all stay: going through them, again and
    again and when the process ends, is a third of the time that a prediction takes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        _keep()
    finally:
        if enabled:
            gc.enable()


@functools.cache
def _keep() -> None:
    gc.freeze()  # once in a process, or garbage of later pieces would stay for ever


@functools.cache
def give_back_memory_of_compilers() -> None:
    """From now on, once a program is compiled, Linux gets back what the compiler has freed.

    The C library would keep it, and a training step, whose large arrays are taken anew, then comes on top: up to a
    third of the most that the process ever holds.
    """
    import jax

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None

    def compiled(event: str, duration_secs: float, **_: str | int) -> None:
        if trim and event.endswith("backend_compile_duration") and duration_secs >= 1:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(compiled)
