"""How the processes of a run find one another: all come to process 0, which looks whether they are of one run.

It comes before JAX, whose own way ends a process by a stack trace where another does not come.
"""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from cnn_jax.processes.connection import Connection, read, write
from cnn_jax.processes.line import Ended, Line, of_first, of_other

RETRY = 0.1  # seconds
WAIT = "CNN_JAX_WAIT"  # environment variable: seconds


class Place(NamedTuple):
    """rank, total: which process this is, and of how many. address: HOST:PORT, at which process 0 waits.

    token: what all processes of one start have in common, and no other. devices: numbers of the accelerators of its
    machine that this process has, None for all.
    """

    rank: int
    total: int
    address: str
    token: str = ""
    devices: tuple[int, ...] | None = None

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


class Found(NamedTuple):
    """The line, and the port on the machine of process 0 where JAX meets."""

    line: Line
    port: int


def meet(place: Place, facts: Mapping[str, str], seconds: float, ended: Callable[[Ended], None]) -> Found:
    """Waits for all processes, at most so long.

    facts: {what it is: value}, which must be the same in all.
    ended: as a `Line` takes it.

    Raises ValueError, in one line and in all processes that are there, where one does not come or differs.
    """
    return (_first if place.rank == 0 else _other)(place, facts, seconds, ended)


def _first(place: Place, facts: Mapping[str, str], seconds: float, ended: Callable[[Ended], None]) -> Found:
    until, came = time.monotonic() + seconds, dict[int, socket.socket]()
    here = place.host in ("127.0.0.1", "localhost", "::1")
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _share_port(listening)
        try:
            listening.bind((place.host if here else "", place.port))
        except OSError as error:
            raise ValueError(
                f"process 0 cannot wait at {place.address} ({error.strerror}): is the port free?"
            ) from None
        listening.listen(place.total)
        try:
            while len(came) < place.total - 1:
                listening.settimeout(max(until - time.monotonic(), 0.001))
                sock, _ = listening.accept()
                if hello := _hello(sock, place):
                    rank = hello["rank"]
                    if problem := _problem(place, facts, hello, came):
                        came.setdefault(rank, sock)
                        raise ValueError(problem)
                    came[rank] = sock
        except (TimeoutError, ValueError) as error:
            problem = str(error) if isinstance(error, ValueError) else _missing(place, came, seconds)
            for sock in came.values():
                with suppress(OSError), sock:
                    write(sock, {"kind": "refused", "words": problem})
            raise ValueError(problem) from None
    with socket.socket(family) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    for sock in came.values():
        write(sock, {"kind": "welcome", "port": port})
    return Found(of_first(place.total, {rank: Connection(sock, dict) for rank, sock in came.items()}, ended), port)


def _hello(sock: socket.socket, place: Place) -> dict[str, Any] | None:
    """What a process says of itself; None where it is none of this start."""
    sock.settimeout(10)
    with suppress(OSError, ValueError, LookupError):
        hello, _ = read(sock)
        if hello["kind"] == "hello" and hello["token"] == place.token and isinstance(hello["rank"], int):
            return hello
    sock.close()
    return None


def _problem(place: Place, facts: Mapping[str, str], hello: dict[str, Any], came: Mapping[int, Any]) -> str:
    rank = hello["rank"]
    if hello["count"] != place.total or not 0 < rank < place.total or rank in came:
        said = f"process {rank} of {hello['count']}"
        return f"{said} has come to process 0 of {place.total}{' a second time' * (rank in came)}: start all anew"
    for what, value in facts.items():
        other = hello["facts"].get(what)
        if other != value:
            return f"process {rank} has another {what} ({other}) than process 0 ({value}): start all with the same"
    return ""


def _missing(place: Place, came: Mapping[int, Any], seconds: float) -> str:
    missing = [str(rank) for rank in range(1, place.total) if rank not in came]
    some = ", ".join(missing[:10]) + ", ..." * (len(missing) > 10)
    return (
        f"process{'es' * (len(missing) > 1)} {some} of {place.total} did not come to {place.address} within "
        f"{seconds:.0f} s: start all with the same command, and see that process 0 can be reached ({WAIT}=SECONDS "
        "waits longer)"
    )


def _other(place: Place, facts: Mapping[str, str], seconds: float, ended: Callable[[Ended], None]) -> Found:
    until, reason = time.monotonic() + seconds, "nothing answers"
    hello = {"kind": "hello", "rank": place.rank, "count": place.total, "token": place.token, "facts": dict(facts)}
    while (left := until - time.monotonic()) > 0:
        try:
            sock, answer = _answer(place, hello, min(left, 5.0), seconds + 10)  # process 0 waits for the others
        except (OSError, ValueError) as error:  # it is not there yet, or something else is
            reason = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
            time.sleep(RETRY)
            continue
        if answer.get("kind") == "welcome":
            return Found(of_other(place.rank, place.total, Connection(sock, dict), ended), answer["port"])
        if answer.get("kind") == "refused":
            raise ValueError(answer["words"])
    raise ValueError(
        f"process {place.rank} of {place.total} could not reach process 0 at {place.address} for {seconds:.0f} s "
        f"({reason}): start it, and let this machine connect to that port ({WAIT}=SECONDS waits longer)"
    )


def _answer(
    place: Place, hello: dict[str, Any], connecting: float, answering: float
) -> tuple[socket.socket, dict[str, Any]]:
    """What process 0 says, and the connection to it, which stays open only where that is a welcome.

    connecting, answering: seconds.
    """
    with ExitStack() as closed:
        sock = closed.enter_context(socket.create_connection((place.host, place.port), timeout=connecting))
        sock.settimeout(answering)
        write(sock, hello)
        answer, _ = read(sock)
        if answer.get("kind") == "welcome":
            closed.pop_all()
    return sock, answer


def _share_port(sock: socket.socket) -> None:
    """Lets the launcher hold the port, so that no other program takes it before it is used."""
    if hasattr(socket, "SO_REUSEPORT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
