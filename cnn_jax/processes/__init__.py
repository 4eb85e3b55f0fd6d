"""The processes of one run: which this is, and what they do together. A run of one process is always first and alone.

The exchanges are for the main thread, which must come to them in the same order in all processes; those with a name
are for any thread.
"""

import functools
import io
import json
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cnn_jax.processes.line import Line

T = TypeVar("T")

SEEN = 20.0  # seconds until a file is seen on a network disk

_line: Line | None = None
# What NumPy's arrays and numbers are unpickled by.
_OF_NUMPY = {"_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype"}


def use(line: Line | None) -> None:
    """From now on this process has `line`."""
    global _line
    _line = line


def current() -> Line | None:
    """This process's line, None where it is alone."""
    return _line


def index() -> int:
    """Which process this is, from 0."""
    return 0 if _line is None else _line.rank


def count() -> int:
    """How many there are."""
    return 1 if _line is None else _line.count


def first() -> bool:
    """Whether this process is the one that writes."""
    return index() == 0


def shared(make: Callable[[], T]) -> T:
    """What `make` returns in process 0, where alone it is called, in all; it must be JSON."""
    if _line is None:
        return make()
    value = json.dumps(make()).encode() if first() else None
    return json.loads(_line.share(_line.turn(), value))


def gathered(value: T) -> list[T]:
    """The values of all processes by rank, in process 0; [] in the others.

    They are trees of tuples, lists, dictionaries, numbers, text and NumPy arrays.
    """
    if _line is None:
        return [value]
    found = _line.gather(_line.turn(), pickle.dumps(value, protocol=5))
    return [_Reader(io.BytesIO(data)).load() for data in found]


def barrier(name: str = "") -> None:
    """Waits until all processes have come here; in another thread than the main one with a name, for one time."""
    if _line is not None:
        _line.barrier(name or _line.turn())


@contextmanager
def holding(hold: Callable[[], AbstractContextManager[None]], proof: Path) -> Iterator[None]:
    """Within it process 0 holds what all need.

    proof: a file there, which process 0 may write to. Raises ValueError in a process that has not the same one.
    """
    if not first():
        _check_same(proof, shared(str))
        yield
        return
    with hold():
        token = uuid.uuid4().hex if count() > 1 else ""
        if token:
            proof.write_text(token, encoding="utf-8")
        shared(lambda: token)
        yield


def _check_same(proof: Path, token: str) -> None:
    until = time.monotonic() + SEEN
    while True:
        try:
            if proof.read_text(encoding="utf-8") == token:
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise ValueError(
                f"'{proof.parent}' of process {index()} is not that of process 0: choose a --workdir on a disk that "
                "all processes share"
            )
        time.sleep(0.1)


def agree(value: Any, problem: Callable[[Any, Any], str]) -> None:
    """Raises ValueError in all processes where one has another value, which is JSON, than process 0.

    problem: (the value of process 0, that of another) -> what is different, in words; "" where nothing is.
    """
    if _line is None:
        return
    own, found = json.loads(json.dumps(value)), gathered(json.dumps(value))

    def look() -> str:
        for rank, text in enumerate(found):
            if said := problem(own, json.loads(text)):
                return f"process {rank} {said}: start all processes with the same command, code and data"
        return ""

    if said := shared(look):
        raise ValueError(said)


class _Reader(pickle.Unpickler):
    """Reads trees of arrays, and makes nothing else than named tuples of modules that are imported already."""

    def find_class(self, module: str, name: str) -> Any:
        found = functools.reduce(lambda part, word: getattr(part, word, None), name.split("."), sys.modules.get(module))
        of_numpy = module.split(".")[0] == "numpy" and name in _OF_NUMPY
        if of_numpy or (isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")):
            return found
        raise ValueError(f"'{module}.{name}' cannot go from one process to another: totals hold tuples and arrays")
