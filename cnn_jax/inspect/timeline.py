"""Where the time of a compiled program goes: what a profiler has recorded, added up by the program's own parts."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cnn_jax.inspect.compiled import Operation, operations
from cnn_jax.inspect.table import table
from cnn_jax.inspect.traffic import KINDS

IDLE, SHARED, FORWARD, BACKWARD, REST = "devices idle", "collectives", "forward", "backward", "rest of the step"
LARGEST = 12  # operations that are shown
# Words of a scope that say how JAX came to an operation, not where it belongs.
BETWEEN = ("while", "body", "cond", "closed_call", "checkpoint", "rematted_computation", "shard_map")


class Spent(NamedTuple):
    """What an operation took in all runs, over all devices together. runs: how often it ran."""

    seconds: float
    runs: int


class Origin(NamedTuple):
    """Where an operation comes from: part of the step, module, and what it does."""

    part: str
    module: str
    what: str


def spent(trace: Path, program: str) -> dict[str, Spent]:
    """Name of an operation -> what it took, without the operations within it.

    Args:
      trace: an .xplane.pb file of `jax.profiler`.
      program: its operations, by the name that XLA gave it, as "jit_step".
    """
    from jax.profiler import ProfileData

    seconds, runs = defaultdict[str, float](float), Counter[str]()
    for plane in ProfileData.from_file(str(trace)).planes:
        lines = list(plane.lines)
        if plane.name.startswith("/device:"):  # the same operations stand in several lines
            lines = [line for line in lines if line.name.startswith("Stream")] or [
                line for line in lines if line.name == "XLA Ops"
            ]
        for line in lines:
            for name, taken in _alone(_events(line, program)):
                seconds[name] += taken
                runs[name] += 1
    return {name: Spent(seconds[name], runs[name]) for name in seconds}


def _events(line: object, program: str) -> Iterator[tuple[float, float, str]]:
    """(start, end, operation) of a thread or stream, in seconds."""
    for event in line.events:  # type: ignore[attr-defined]
        stats = dict(event.stats)
        if stats.get("hlo_module", program) != program or event.name.startswith("end: "):
            continue
        name = stats.get("hlo_op") or (event.name.partition(" = ")[0].lstrip("%") if "hlo_category" in stats else "")
        if name:
            begin = event.start_ns / 1e9
            yield begin, begin + event.duration_ns / 1e9, str(name)


def _alone(events: Iterator[tuple[float, float, str]]) -> list[tuple[str, float]]:
    """(operation, seconds) of each event, without those of the events within it."""
    found: list[tuple[str, float]] = []
    around: list[tuple[float, int]] = []  # ends and places of the events that contain the next one
    for begin, end, name in sorted(events, key=lambda event: (event[0], -event[1])):
        while around and around[-1][0] <= begin:
            around.pop()
        if around:
            outer = around[-1][1]
            found[outer] = (found[outer][0], found[outer][1] - (end - begin))
        around.append((end, len(found)))
        found.append((name, end - begin))
    return found


def origin(operation: Operation, scopes: tuple[str, ...] = ()) -> Origin:
    """Where `operation` comes from. scopes: names of further parts of the step, as "optimizer"."""
    words = operation.scope.split("/")
    what = (re.findall(r"[\w-]+", words[-1]) or [operation.kind])[-1]
    place = next((index for index, word in enumerate(words) if "jvp(" in word), None)
    named = next((word for word in words if word in scopes), REST)
    if place is None:
        part, module = named, ""
    else:
        again = "rematted_computation" in words
        part = BACKWARD if again or "transpose(" in words[place] else FORWARD
        module = "/".join(word for word in words[place + 1 : -1] if word not in BETWEEN and "(" not in word)
    shared = operation.kind.removesuffix("-start").removesuffix("-done") in KINDS
    return Origin(SHARED if shared else part, module, what)


def report(text: str, trace: Path, steps: int, seconds: float, devices: int, scopes: tuple[str, ...] = ()) -> str:
    """Two short tables: the parts of a step, and its largest operations.

    Args:
      text: the step's program, from `compiled.as_text()`.
      trace: of `steps` of them, which took `seconds` together, on `devices` that are recorded.
      scopes: see `origin`.
    """
    header = re.match(r"HloModule ([\w.-]+)", text)
    known = operations(text)
    parts, single, runs = Counter[str](), defaultdict[Origin, float](float), Counter[Origin]()
    for name, found in spent(trace, header[1] if header else "").items():
        come = origin(known.get(name, Operation(name, name.partition(".")[0], "")), scopes)
        parts[come.part] += found.seconds / devices / steps  # type: ignore[assignment]
        single[come] += found.seconds / devices / steps
        runs[come] += found.runs
    step = seconds / steps
    parts[IDLE] = max(0.0, step - sum(parts.values()))  # type: ignore[assignment]
    rows = [(part, *_share(taken, step)) for part, taken in parts.most_common()]
    most = sorted(single.items(), key=lambda pair: -pair[1])[:LARGEST]
    largest = [
        (come.part, come.module, come.what, *_share(taken, step), f"{runs[come] / devices / steps:,.4g}".rjust(4))
        for come, taken in most
    ]
    return "\n\n".join(
        [
            table(("part", "ms a step", "share"), rows),
            table(("part", "module", "operation", "ms a step", "share", "runs"), largest),
        ]
    )


def _share(taken: float, step: float) -> tuple[str, str]:
    return f"{1e3 * taken:9.3f}", f"{taken / step:5.1%}"
