"""The line between the processes of a run: small messages around process 0, beside the arrays that JAX moves.

JAX lets a process wait for ever for one that hangs, and for a minute or more for one that died. Over this line each
hears at once of another that has ended, and why; all agree at which point of their common way they stop; and what was
computed in parts comes together.

A point is a place that all processes pass in the same order, as the beginning of a step. Process 0 has the `Hub`; all
have a `Line`, process 0 as well, whose messages do not leave the process.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cnn_jax.processes.connection import BEAT, Connection

SILENT = 30.0  # seconds without a beat after which a process counts as hung
BEHIND, FAR_BEHIND = 60.0, 900.0  # seconds that a process may be behind the others, in a step and elsewhere
TICK = 1.0
PAUSED = 10.0  # seconds between two ticks from which on this process itself had been stopped
LOST = 76  # exit code: another process of the run died or hung

GONE = "process {} is gone: it was killed, or its machine or network failed"


class Ended(NamedTuple):
    """That a process has ended before the others: which, its exit code, and why in a line."""

    rank: int
    code: int
    words: str


class Line:
    """What a process has of the line.

    rank, count: which process this is, from 0, and of how many.
    passed: how many points and exchanges it has come to. steady: whether it is now in what takes as long each time.
    ended: (the one that ended) -> called in another thread when a process has ended before all were `over`.
    """

    def __init__(self, rank: int, count: int, ended: Callable[[Ended], None]) -> None:
        self.rank, self.count, self.over = rank, count, False
        self.steady, self.points, self.passed = False, 0, 0
        self.first_end: Ended | None = None
        self._ended, self._turns = ended, 0
        self._changed = threading.Condition()
        self._inbox: dict[str, Any] = {}
        self._frozen, self._stop_at = False, -1
        self.send: Callable[..., None] = lambda *_: None
        self.flush: Callable[[float], None] = lambda _: None
        self.wait_for_the_others: Callable[[float], None] = lambda _: None

    def turn(self) -> str:
        """A name for the next exchange, the same in all processes: only the main thread's exchanges have these."""
        self._turns += 1
        self.passed += 1
        return f"turn {self._turns}"

    def share(self, name: str, value: bytes | None = None) -> bytes:
        """The value that process 0 gives, in all."""
        if self.rank == 0:
            self.send({"kind": "share", "name": name}, value or b"")
        return self._received(f"share {name}")

    def gather(self, name: str, value: bytes) -> list[bytes]:
        """The values of all by rank, in process 0, which waits for them; [] in the others."""
        self.send({"kind": "gather", "name": name}, value)
        return self._received(f"gather {name}") if self.rank == 0 else []

    def barrier(self, name: str) -> None:
        """Waits until all are here."""
        self.gather(name, b"")
        self.share(name)

    def ask_to_stop(self) -> None:
        """Asks all to stop at one point. It may be called in a signal handler."""
        self.send({"kind": "stop"})

    def point(self, *, steady: bool = False) -> bool:
        """Whether all stop here; else they go on, to the next point.

        steady: what follows takes about as long as it took before, and as long in all processes.
        """
        with self._changed:
            while self._frozen and self._stop_at < 0:
                self._changed.wait()
            if 0 <= self._stop_at <= self.points:
                return True
            self.points += 1
            self.passed += 1
            self.steady = steady
            return False

    def end(self, code: int, words: str) -> None:
        """Tells the others that this process ends, and why."""
        self.send({"kind": "ended", "code": code, "words": words})
        self.flush(2.0)

    def close(self) -> None:
        """Waits until all are here, to end alike; process 0 then waits for the others, to which it is the line."""
        self.passed += 1
        self.gather("end", b"")
        self.over = self.rank == 0  # before the others know it and go
        self.share("end")
        self.over = True
        self.wait_for_the_others(10.0)

    def heard_of_an_end(self, seconds: float) -> Ended | None:
        """Which process has ended, where that comes to be known within so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.first_end is not None, seconds)
            return self.first_end

    def beat(self) -> dict[str, Any]:
        """What the others know of this process's progress."""
        return {"kind": "beat", "passed": self.passed, "steady": self.steady}

    def handle(self, header: dict[str, Any], data: Any) -> None:
        """What a message of the hub does, in the thread that reads."""
        kind = header["kind"]
        with self._changed:
            if kind in ("share", "gather"):
                self._inbox[f"{kind} {header['name']}"] = data
            elif kind == "freeze":
                self._frozen = True
                self.send({"kind": "at", "points": self.points})
            elif kind == "stop":
                self._stop_at = header["points"]
            self._changed.notify_all()
        if kind == "ended":
            self.hear(Ended(header["rank"], header["code"], header["words"]))

    def hear(self, end: Ended, tell: Callable[[], None] = lambda: None) -> None:
        """Notes that a process has ended, the first time; `tell` is called before this one ends for it.

        It is noted before anything else is done, as what fails for that reason asks for it (`heard_of_an_end`).
        """
        with self._changed:
            if self.over or self.first_end is not None:
                return
            self.first_end = end
            self._changed.notify_all()
        tell()
        if end.rank != self.rank:
            self._ended(end)

    def _received(self, name: str) -> Any:
        self.steady = False
        with self._changed:
            self._changed.wait_for(lambda: name in self._inbox)
            return self._inbox.pop(name)


class Hub:
    """What process 0 has besides: the connections to all others."""

    def __init__(self, line: Line, connections: dict[int, Connection]) -> None:
        self.line, self.connections = line, connections
        self._lock = threading.Lock()
        self._gathered: dict[str, dict[int, bytes]] = {}
        self._at: dict[int, int] = {}
        self._progress = {rank: (0, False) for rank in range(line.count)}
        self._behind: dict[int, tuple[int, float]] = {}
        self._asked = False
        self._readers = [
            threading.Thread(target=self._read, args=connected, name="line in", daemon=True)
            for connected in connections.items()
        ]
        for reader in self._readers:
            reader.start()

    def handle(self, rank: int, header: dict[str, Any], data: bytes) -> None:
        """What a message of a process does."""
        kind, everyone = header["kind"], range(self.line.count)
        if kind == "share":
            self.tell(header, data)
        elif kind == "ended":
            self.end(Ended(rank, header["code"], header["words"]))
        with self._lock:
            if kind == "beat":
                self._progress[rank] = header["passed"], header["steady"]
            elif kind == "gather":
                found = self._gathered.setdefault(header["name"], {})
                found[rank] = data
                if len(found) == len(everyone):
                    del self._gathered[header["name"]]
                    self.line.handle(header, [found[one] for one in everyone])
            elif kind == "stop" and not self._asked:
                self._asked = True
                self.tell({"kind": "freeze"})
            elif kind == "at":
                self._at[rank] = header["points"]
                if len(self._at) == len(everyone):
                    self.tell({"kind": "stop", "points": max(self._at.values())})

    def tell(self, header: dict[str, Any], data: bytes = b"") -> None:
        """A message to all."""
        for connection in self.connections.values():
            connection.send(header, data)
        self.line.handle(header, data)

    def end(self, end: Ended) -> None:
        """Tells all that a process has ended, the first that does."""

        def tell() -> None:
            for connection in self.connections.values():
                connection.send({"kind": "ended", **end._asdict()})
            self.flush(2.0)

        self.line.hear(end, tell)

    def flush(self, seconds: float) -> None:
        """Waits until all is written, at most so long."""
        until = time.monotonic() + seconds
        for connection in self.connections.values():
            connection.flush(max(0.0, until - time.monotonic()))

    def wait_for_the_others(self, seconds: float) -> None:
        """Waits until all have gone, at most so long."""
        until = time.monotonic() + seconds
        for reader in self._readers:
            reader.join(max(0.0, until - time.monotonic()))

    def check(self) -> None:
        """Ends all where a process is silent, or far behind the others."""
        now = time.monotonic()
        for rank, connection in self.connections.items():
            if now - connection.heard > SILENT:
                self.end(Ended(rank, LOST, silent(rank)))
        with self._lock:
            self._progress[0] = self.line.passed, self.line.steady
            most = max(passed for passed, _ in self._progress.values())
            late = []
            for rank, (passed, steady) in self._progress.items():
                if passed == most:
                    self._behind.pop(rank, None)
                    continue
                before = self._behind.get(rank)
                if before is None or before[0] != passed:
                    self._behind[rank] = passed, now
                elif now - before[1] > (BEHIND if steady else FAR_BEHIND):
                    late.append((passed, rank, now - before[1]))
        if late:
            _, rank, seconds = min(late)
            self.end(Ended(rank, LOST, f"process {rank} hangs: the others have waited for it for {seconds:.0f} s"))

    def pardon(self) -> None:
        """Counts the silence of all from now on."""
        for connection in self.connections.values():
            connection.heard = time.monotonic()
        self._behind.clear()

    def _read(self, rank: int, connection: Connection) -> None:
        for header, data in connection.messages():
            self.handle(rank, header, data)
        self.end(Ended(rank, LOST, GONE.format(rank)))


def silent(rank: int) -> str:
    """The line about a process that does not answer."""
    return f"process {rank} has not answered for {SILENT:.0f} s: it was stopped, or its machine or network failed"


def of_first(count: int, connections: dict[int, Connection], ended: Callable[[Ended], None]) -> Line:
    """The line of process 0, over its connections to the others."""
    line = Line(0, count, ended)
    for connection in connections.values():
        connection.beat = line.beat
    hub = Hub(line, connections)
    own: queue.SimpleQueue[tuple[dict[str, Any], bytes] | threading.Event] = queue.SimpleQueue()

    def forward() -> None:
        while True:
            message = own.get()
            if isinstance(message, threading.Event):
                hub.flush(2.0)
                message.set()
            else:
                hub.handle(0, *message)

    def flush(seconds: float) -> None:
        done = threading.Event()
        own.put(done)
        done.wait(seconds)

    line.send, line.flush = lambda header, data=b"": own.put((header, data)), flush
    line.wait_for_the_others = hub.wait_for_the_others
    threading.Thread(target=forward, name="line", daemon=True).start()
    _watch(line, hub.check, hub.pardon)
    return line


def of_other(rank: int, count: int, connection: Connection, ended: Callable[[Ended], None]) -> Line:
    """The line of another process, over its connection to process 0."""
    line = Line(rank, count, ended)
    connection.beat = line.beat
    line.send, line.flush = connection.send, connection.flush
    line.wait_for_the_others = lambda _: connection.close()  # process 0 waits for that

    def read() -> None:
        for header, data in connection.messages():
            if header["kind"] != "beat":
                line.handle(header, data)
        line.hear(Ended(0, LOST, GONE.format(0)))

    def check() -> None:
        if time.monotonic() - connection.heard > SILENT:
            line.hear(Ended(0, LOST, silent(0)))

    def pardon() -> None:
        connection.heard = time.monotonic()

    threading.Thread(target=read, name="line in", daemon=True).start()
    _watch(line, check, pardon)
    return line


def _watch(line: Line, check: Callable[[], None], pardon: Callable[[], None]) -> None:
    def watch() -> None:
        before = time.monotonic()
        while not line.over:
            time.sleep(min(TICK, BEAT))
            now = time.monotonic()
            # Where this process itself was stopped, as a laptop that slept, the others had no chance to be heard.
            (pardon if now - before > PAUSED else check)()
            before = now

    threading.Thread(target=watch, name="line watch", daemon=True).start()
