"""The sides of a benchmark that take turns: calls of this process, and of another that sleeps while it is not asked.

The other one is a file beside this one that serves a job, as child.py says.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn_jax.devices import cores
from cnn_jax.launch import script

Call = Callable[[], float]  # seconds that it took


def medians(rounds: int, *calls: Call) -> list[float]:
    """The median seconds of each, over rounds in which they take turns; of two calls in a row the second counts.

    The first gets the memory back that was free while the others ran. In a virtual machine whose host takes free memory
    back, each MB of it costs 1.6 ms: more than a training step.
    """
    times = [[(call(), call())[1] for call in calls] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def timed(call: Callable[[], Any]) -> Call:
    """The seconds of a call, until its arrays are there."""
    import jax

    def seconds() -> float:
        began = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - began

    return seconds


def stepping(run: Any, state: Any, batch: Any, steps: int) -> Call:
    """The seconds of a training step, over `steps` of them, each of which is waited for."""
    import jax

    held = [state]

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            held[0], fetch = run.engine.step(held[0], batch)
            fetch()
        jax.block_until_ready(held[0])
        return (time.perf_counter() - began) / steps

    return seconds


def beside(file: str, job: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., Call]]:
    """What the process of a file says of a job, and how it is asked: (mode, steps=1) -> a call, the seconds of a step.

    Raises Failed where that process has stopped.
    """
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(file))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )

    def asked(**words: Any) -> dict[str, Any]:
        assert child.stdin and child.stdout
        print(json.dumps(words), file=child.stdin, flush=True)
        if not (line := child.stdout.readline()):
            raise script.Failed(f"the process of {file} has stopped")
        return json.loads(line)

    def seconds(mode: str, steps: int) -> float:
        return asked(mode=mode, steps=steps)["seconds"] / steps

    facts = asked(**job, threads=cores())
    return facts, lambda mode, steps=1: functools.partial(seconds, mode, steps)
