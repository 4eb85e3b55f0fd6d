"""The half of a benchmark that runs in a process of its own; `step.py` starts it and says when to work.

One JSON object a line: first the job comes in and what was built goes out, then each command {"mode", "steps"} is
answered by {"seconds", "peak_mb"}. Between commands the process sleeps, so variants that take turns do not disturb
one another.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Modes = dict[str, Callable[[int], None]]  # name -> runs that many steps, and waits for the last to end


def serve(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Modes]]) -> None:
    """Answers on the standard streams until the input ends.

    Args:
      prepare: job -> (facts about what was built, what can be timed).
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # a library's chatter must not get between the answers

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    facts, modes = prepare(json.loads(sys.stdin.readline()))
    say(**facts)
    for line in sys.stdin:
        command = json.loads(line)
        began = time.perf_counter()
        modes[command["mode"]](command["steps"])
        seconds = time.perf_counter() - began
        try:
            say(seconds=seconds, peak_mb=megabytes("VmHWM"))
        except ValueError as error:
            sys.exit(f"error: {error}")


def megabytes(field: str) -> float:
    """The memory that this process holds, field "VmRSS", or the most that it ever held, "VmHWM".

    Not getrusage's number, which the parent's memory may be part of.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise ValueError("this benchmark reads /proc/self/status, which only Linux has")
