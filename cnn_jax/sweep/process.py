"""One training of a sweep as a process of its own: what ends it, as a crash or too little memory, ends no other.

`started` is the one place that knows where a training runs. It is held by a lock that the operating system passes on to
the process and takes back when that ends, however it ends; so it is known of each run whether anyone trains it, also
when the process that began it was killed.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from cnn_jax.devices import COUNT, cores
from cnn_jax.train.preempt import SIGNALS
from cnn_jax.train.run_folder import held

ROOT = Path(__file__).parents[2]  # where the package is found, wherever the command is given
CODE = "import sys; del sys.argv[0]; from cnn_jax.launch.cli import console; sys.exit(console())"
LAST = 2**16  # bytes at the end of what a training printed, in which the line that ended it is looked for
GPUS, VISIBLE = Path("/proc/driver/nvidia/gpus"), "CUDA_VISIBLE_DEVICES"
MEMORY, PREALLOCATE = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"


def claimed(path: Path) -> IO[str] | None:
    """The lock of a run, for this process and those that it is passed on to; None where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a", encoding="utf-8")
    if held(lock):
        return lock
    lock.close()
    return None


def started(words: Sequence[str], said: Path, lock: IO[str], share: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts `launch.py WORDS`, which holds the lock and prints to the end of the file `said`.

    share: environment variables that say which devices are its own.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with said.open("ab") as output:
        output.write(
            f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} launch.py {shlex.join(words)}\n".encode(errors="replace")
        )
        output.flush()
        return subprocess.Popen(
            [sys.executable, "-c", CODE, sys.argv[0], *words],
            env={**os.environ, "PYTHONPATH": path, **share},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=() if os.name == "nt" else (lock.fileno(),),
            start_new_session=True,  # a terminal's Ctrl-C comes to the sweep, which asks each run to stop once
        )


def share(slot: int, jobs: int) -> dict[str, str]:
    """The part of this machine that the run in a slot has, in environment variables: cores, and GPUs where there are.

    Where there are more runs than GPUs, some have one together, and each a part of its memory, of which JAX would take
    most for the first.
    """
    if jobs == 1:
        return {}
    own, part = f"{COUNT}={cores()}", f"{COUNT}={max(1, cores() // jobs)}"
    found = {"XLA_FLAGS": " ".join(part if word == own else word for word in os.environ.get("XLA_FLAGS", "").split())}
    gpus = _gpus()
    if not gpus:
        return found
    each, together = len(gpus) // jobs, -(-jobs // len(gpus))
    mine = gpus[slot * each : (slot + 1) * each] if each else [gpus[slot % len(gpus)]]
    settled = together == 1 or any(name in os.environ for name in (MEMORY, PREALLOCATE))
    return {**found, VISIBLE: ",".join(mine), **({} if settled else {MEMORY: f"{0.9 / together:.2f}"})}


def _gpus() -> list[str]:
    """The GPUs that JAX would use, by the names that CUDA has for them."""
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu" or not GPUS.is_dir():
        return []
    visible = os.environ.get(VISIBLE)
    here = [str(number) for number in range(len(list(GPUS.iterdir())))]
    return here if visible is None else [name for name in visible.split(",") if name]


def last_line(said: Path) -> str:
    """The line that ended a training: its error, or else the last that it printed."""
    with said.open("rb") as file:
        file.seek(max(0, said.stat().st_size - LAST))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    begin = max((number for number, line in enumerate(lines) if line.startswith("--- ")), default=-1)
    own = lines[begin + 1 :]
    errors = [line.removeprefix("error: ") for line in own if line.startswith("error: ")]
    return (errors or own or ["it printed nothing"])[-1]


def ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}{', as where memory runs out' if name == 'SIGKILL' else ''}"


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
