"""What devices send one another in a compiled program, read from its text."""

import math
import re

# Operations of XLA by which devices exchange arrays, and how often each byte of their result crosses a link of a ring
# of n devices, for each device.
KINDS = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1.0,  # the result is a part
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}
# Of one that goes on beside others the end, whose type is the result's alone.
OPERATION = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})(?:-done)?\(")
ARRAY = re.compile(r"\b(pred|[a-z]+\d+)(?:e\d\w+)?\[([\d,]*)\]")


def payload(program: str) -> dict[str, int]:
    """Bytes of the results of each kind of exchange in the text of a compiled program, as `compiled.as_text()`."""
    found = dict.fromkeys(KINDS, 0)
    for result, kind in OPERATION.findall(program):
        found[kind] += sum(_bytes(kind_of, shape) for kind_of, shape in ARRAY.findall(result))
    return found


def sent(program: str, devices: int) -> float:
    """Bytes that each device sends in one run of the program, where every exchange goes around a ring of all."""
    return sum(KINDS[kind](devices) * size for kind, size in payload(program).items())


def _bytes(kind: str, shape: str) -> int:
    bits = int(re.sub(r"\D", "", kind) or 8)  # pred has none
    return math.prod(int(size) for size in shape.split(",") if size) * max(bits // 8, 1)
