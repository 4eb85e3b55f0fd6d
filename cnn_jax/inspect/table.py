"""Tables of plain text."""

from collections.abc import Sequence

PREFIXES = {10**12: "T", 10**9: "G", 10**6: "M", 10**3: "k"}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lines of columns: whole numbers to the right with commas, everything else to the left."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [all(isinstance(cell, int) for cell in column) for column in zip(*rows, strict=True)] or [False] * len(head)
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        )
        for line in (head, *cells)
    ]
    return "\n".join(line.rstrip() for line in lines)


def short(number: float) -> str:
    """A number with three digits and a prefix, for a unit to follow: "1.09 M"."""
    size = next((size for size in PREFIXES if number >= size), 1)
    return f"{number / size:,.3g} {PREFIXES.get(size, '')}"


def sizes(shape: Sequence[int]) -> str:
    """A shape as it is written: 224x224x3."""
    return "x".join(map(str, shape))
