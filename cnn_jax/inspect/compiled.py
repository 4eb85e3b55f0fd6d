"""A compiled program as XLA writes it down, in `compiled.as_text()`: its operations, and how often they run."""

import re
from collections import Counter
from typing import NamedTuple

_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$")
_OPERATION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = .*? ([a-z][\w-]*)\(", re.MULTILINE)
_CALLED = re.compile(r"\b(?:body|condition|calls|to_apply)=%?([\w.-]+)|\bbranch_computations=\{([^}]*)\}")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_SCOPE = re.compile(r'\bop_name="([^"]*)"')


class Operation(NamedTuple):
    """One operation. kind: XLA's name for it, as "fusion" or "all-reduce".

    scope: where JAX made it, as "jit(packed)/shard_map/jvp(ResNet)/stem/conv/conv_general_dilated", or "".
    """

    name: str
    kind: str
    scope: str


class Computation(NamedTuple):
    """A part of a program, as a fusion or the body of a loop. times: how often it runs when the program does.

    A loop that does not say how often it turns counts once.
    """

    text: str
    times: int


def operations(text: str) -> dict[str, Operation]:
    """Name -> operation, of those within fusions and loops too."""
    found = {}
    for line in text.splitlines():
        if match := _OPERATION.match(line):
            scope = _SCOPE.search(line)
            found[match[1]] = Operation(match[1], match[2], scope[1] if scope else "")
    return found


def computations(text: str) -> list[Computation]:
    """The parts of a program; one that is never called runs no time."""
    lines: dict[str, list[str]] = {}
    uses: dict[str, list[tuple[str, int]]] = {}
    inside = ""
    for line in text.splitlines():
        if header := _HEADER.match(line):
            inside = header[1]
        elif inside:
            lines.setdefault(inside, []).append(line)
            turns = _TURNS.search(line)
            for called in _CALLED.finditer(line):
                names = [called[1]] if called[1] else re.findall(r"[\w.-]+", called[2])
                uses.setdefault(inside, []).extend((name, int(turns[1]) if turns else 1) for name in names)
    order = list(lines)  # each stands before those that call it, the program's own at the end
    times = Counter(order[-1:])
    for caller in reversed(order):
        for name, often in uses.get(caller, []):
            times[name] += times[caller] * often
    return [Computation("\n".join(lines[name]), times[name]) for name in order]
