"""The launcher of `train --processes=N`: starts the processes here, says how they end, and starts them again.

It computes nothing. It is told to stop like any training: a first signal is passed on to all processes, a second one
ends them at once.
"""

import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from cnn_jax.launch import child, cli
from cnn_jax.launch.joined import LAUNCHED
from cnn_jax.processes.cluster import PROCESS, TOKEN
from cnn_jax.processes.line import LOST
from cnn_jax.train.preempt import SAID

HELD = 2.0  # seconds in which process 0 may say the same as another
GRACE = 5.0  # seconds for the others to end, when one has
FINAL = (cli.BAD_INPUT, 3, cli.NOT_WRITTEN, cli.STOPPED, cli.INTERRUPTED)  # no new start would do better


class Outcome(NamedTuple):
    """How the processes ended: the exit code of the first that did not end well, and what remains to be said of it."""

    code: int
    words: str = ""


def run(arguments: Sequence[str], count: int, restarts: int) -> int:
    """Runs `train` with these arguments in `count` processes, and again where they die or hang, `restarts` times.

    Raises ValueError where the GPUs of this machine do not divide over the processes.
    """
    if (gpus := child.gpus()) and len(gpus) % count:
        raise ValueError(
            f"--processes={count}: {len(gpus)} GPUs do not divide over {count} processes; say a number that divides "
            f"them, or choose some by {child.VISIBLE}"
        )
    try:
        with child.signals() as asked:
            code, words = _runs(arguments, count, restarts, asked)
    except KeyboardInterrupt:
        print("ended at once: what came after the last checkpoint is lost", file=sys.stderr)
        return cli.INTERRUPTED
    if asked and code not in (0, cli.STOPPED):
        print(SAID, file=sys.stderr)
        return cli.STOPPED
    if words:
        tried = f" after {restarts} restarts" if restarts else ", or with --restarts=3 to have that done"
        print(f"error: {words}: run the same command again to go on{tried}", file=sys.stderr)
    return code


def _runs(arguments: Sequence[str], count: int, restarts: int, asked: list[int]) -> Outcome:
    """How the last start ended."""
    for attempt in range(restarts + 1):
        with _address() as address:
            start = {TOKEN: secrets.token_hex(8), LAUNCHED: str(attempt)}
            processes = [
                _start(arguments, {**child.share(rank, count), **start, PROCESS: f"{rank}/{count}@{address}"}, rank)
                for rank in range(count)
            ]
            found = _Watched(processes, asked).ended()
        if found.code == 0 or found.code in FINAL or asked:
            break
        if attempt < restarts:
            again = f"all {count} start again from the newest checkpoint (restart {attempt + 1} of {restarts})"
            print(f"{found.words}{': ' if found.words else ''}{again}", file=sys.stderr, flush=True)
    return found


def _start(arguments: Sequence[str], environment: dict[str, str], rank: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        child.command(["train", *arguments]),
        env=child.environment(environment),
        stdin=subprocess.PIPE,  # which ends with this process
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # a terminal's signals come here, and go on from here
    )


@contextmanager
def _address() -> Iterator[str]:
    """An address that no other program takes meanwhile; process 0 can listen there, as it shares it."""
    with socket.socket() as held:
        if hasattr(socket, "SO_REUSEPORT"):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        if not hasattr(socket, "SO_REUSEPORT"):
            held.close()
        yield address


class _Watched:
    """The processes of one start: what they say is said once, and when one ends they all do."""

    def __init__(self, processes: list[subprocess.Popen[str]], asked: list[int]) -> None:
        self.processes, self.asked, self.passed_on = processes, asked, False
        self.said: set[str] = set()
        self.held: list[tuple[float, int, str]] = []
        self.lines: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self.readers = [
            threading.Thread(target=self._read, args=(rank,), daemon=True) for rank in range(len(processes))
        ]
        for reader in self.readers:
            reader.start()

    def ended(self) -> Outcome:
        """Waits until all have ended."""
        try:
            while not (bad := self._bad()) and any(process.poll() is None for process in self.processes):
                self._turn()
            first = min(bad, key=self._order, default=None)
            until = time.monotonic() + GRACE
            while any(process.poll() is None for process in self.processes) and time.monotonic() < until:
                self._turn(ending=True)
            if first is not None and self.processes[first].returncode == LOST:  # it left because of another
                first = min(self._bad(), key=self._order)
        finally:
            for process in self.processes:
                process.kill()
                process.wait()
        for reader in self.readers:
            reader.join(1)
        self._turn(ending=True)
        code = 0 if first is None else self.processes[first].returncode
        # Those that end because of another say nothing, or are aborted by JAX, which says much.
        self._say_held(lambda at, rank: code >= 0 and self.processes[rank].returncode == code)
        return Outcome(0) if first is None else self._outcome(first)

    def _outcome(self, rank: int) -> Outcome:
        code = self.processes[rank].returncode
        if code >= 0:  # it has said why
            return Outcome(code)
        return Outcome(LOST, f"process {rank} was killed by {child.signal_name(code)}")

    def _bad(self) -> list[int]:
        return [rank for rank, process in enumerate(self.processes) if process.poll() not in (None, 0)]

    def _order(self, rank: int) -> tuple[bool, bool, int]:
        """Of those that ended together the one because of which the others did: JAX aborts them, or they leave."""
        code = self.processes[rank].returncode
        return code == -signal.SIGABRT, code >= 0, rank

    def _turn(self, *, ending: bool = False) -> None:
        """Passes signals and lines on; when all are ending those of others than process 0 wait until it is over."""
        if self.asked and not self.passed_on:
            self.passed_on = True
            for process in self.processes:
                process.terminate()
        try:
            waiting = 0.05
            while True:
                rank, text = self.lines.get(timeout=waiting)
                waiting = 0.0
                if rank == 0:
                    self.said.add(text)
                    print(text, file=sys.stderr, flush=True)
                else:
                    self.held.append((time.monotonic() + HELD, rank, text))
        except queue.Empty:
            now = time.monotonic()
            if not ending:
                self._say_held(lambda at, rank: at <= now)

    def _say_held(self, due: Callable[[float, int], bool]) -> None:
        lines = [(rank, text) for at, rank, text in self.held if due(at, rank)]
        self.held = [(at, rank, text) for at, rank, text in self.held if not due(at, rank)]
        for rank, text in lines:
            if text not in self.said:
                self.said.add(text)
                named = text.startswith("error: process ")
                print(text if named else f"process {rank}: {text}", file=sys.stderr, flush=True)

    def _read(self, rank: int) -> None:
        stream = self.processes[rank].stderr
        assert stream is not None
        for line in stream:
            self.lines.put((rank, line.rstrip("\n")))
