"""How a command ends to which something happened from outside: what `chaos.py` and `processes.py` look at."""

import math
import re
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

TIMEOUT = 300


class Ended(NamedTuple):
    """code: of the command. err: what it said on stderr. seconds: from the moment that something happened on."""

    code: int
    err: list[str]
    seconds: float

    def expect(self, *codes: int, says: str = "", within: float = math.inf) -> None:
        """Raises AssertionError for another exit code, for more than a line of an error, and for what takes longer.

        says: a pattern that one of the lines has.
        """
        errors = [line for line in self.err if not line.startswith("warning: ")]
        if self.code not in codes or (says and not any(re.search(says, line) for line in self.err)):
            wanted = f"{' or '.join(map(str, codes))}{f', or no line says {says!r}' * bool(says)}"
            raise AssertionError(f"exit code {self.code}, not {wanted}: {self.err[-8:]}")
        if len(errors) > 1:
            raise AssertionError(f"{len(errors)} lines: {errors[-8:]}")
        if self.seconds > within:
            raise AssertionError(f"it took {self.seconds:.0f} s to end")


def ended(process: subprocess.Popen[str]) -> Ended:
    """Waits for the end of a command that something has happened to just now."""
    began = time.monotonic()
    try:
        _, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it did not end within {TIMEOUT} s") from None
    return Ended(process.returncode, err.splitlines(), time.monotonic() - began)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a launcher has started, by rank."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout
    return sorted(int(word) for word in found.split())


def until(process: subprocess.Popen[str], happens: Callable[[], bool]) -> None:
    """Waits until something happens, or the process has ended."""
    while process.poll() is None and not happens():
        time.sleep(0.005)
