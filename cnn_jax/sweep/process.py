"""One training of a sweep as a process of its own: what ends it, as a crash or too little memory, ends no other.

`started` is the one place that knows where a training runs. It is held by a lock that the operating system passes on to
the process and takes back when that ends, however it ends; so it is known of each run whether anyone trains it, also
when the process that began it was killed.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from cnn_jax.launch import child
from cnn_jax.train.run_folder import held

LAST = 2**16  # bytes at the end of what a training printed, in which the line that ended it is looked for


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
    with said.open("ab") as output:
        output.write(
            f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} launch.py {shlex.join(words)}\n".encode(errors="replace")
        )
        output.flush()
        return subprocess.Popen(
            child.command(words),
            env=child.environment(share),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=() if os.name == "nt" else (lock.fileno(),),
            start_new_session=True,  # a terminal's Ctrl-C comes to the sweep, which asks each run to stop once
        )


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
    name = child.signal_name(code)
    return f"killed by {name}{', as where memory runs out' if name == 'SIGKILL' else ''}"
