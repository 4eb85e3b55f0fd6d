"""`launch.py` started again as a process of its own: by which command, on which part of this machine, stopped how."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from cnn_jax.devices import COUNT, cores
from cnn_jax.train.preempt import SIGNALS

ROOT = Path(__file__).parents[2]  # where the package is found, wherever the command is given
CODE = "import sys; del sys.argv[0]; from cnn_jax.launch.cli import console; sys.exit(console())"
GPUS, VISIBLE = Path("/proc/driver/nvidia/gpus"), "CUDA_VISIBLE_DEVICES"
MEMORY, PREALLOCATE = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"


def command(words: Sequence[str]) -> list[str]:
    """What starts `launch.py WORDS` with this Python."""
    return [sys.executable, "-c", CODE, sys.argv[0], *words]


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """This process's environment variables with those of the child's own."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **own}


def share(number: int, count: int) -> dict[str, str]:
    """The part of this machine of one of `count` children, in environment variables: cores, and GPUs where there are.

    Where there are more children than GPUs, some have one together, and each a part of its memory, of which JAX would
    take most for the first.
    """
    if count == 1:
        return {}
    own, part = f"{COUNT}={cores()}", f"{COUNT}={max(1, cores() // count)}"  # what this process has set for itself
    found = {"XLA_FLAGS": " ".join(part if word == own else word for word in os.environ.get("XLA_FLAGS", "").split())}
    all_of_them = gpus()
    if not all_of_them:
        return found
    each, together = len(all_of_them) // count, -(-count // len(all_of_them))
    mine = all_of_them[number * each : (number + 1) * each] if each else [all_of_them[number % len(all_of_them)]]
    settled = together == 1 or any(name in os.environ for name in (MEMORY, PREALLOCATE))
    return {**found, VISIBLE: ",".join(mine), **({} if settled else {MEMORY: f"{0.9 / together:.2f}"})}


def gpus() -> list[str]:
    """The GPUs that JAX would use, by the names that CUDA has for them."""
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu" or not GPUS.is_dir():
        return []
    visible = os.environ.get(VISIBLE)
    here = [str(number) for number in range(len(list(GPUS.iterdir())))]
    return here if visible is None else [name for name in visible.split(",") if name]


def signal_name(code: int) -> str:
    """The signal that ended a child, by its exit code, which is below 0."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@contextmanager
def signals() -> Iterator[list[int]]:
    """Yields the list of the signals that have come, which are only noted; a second one is KeyboardInterrupt."""
    asked = list[int]()

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    found: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
