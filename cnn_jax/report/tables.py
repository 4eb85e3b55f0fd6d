"""What is said of many examples, as a CSV or a JSON file that is written while it is found out."""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cnn_jax.paths import written
from cnn_jax.report import Row

STDOUT = "-"

Write = Callable[[Mapping[str, Any], Sequence[Row]], None]


@contextmanager
def csv_table(target: str | Path, *, ranked: bool = True) -> Iterator[Write]:
    """Yields write(example, rows): a line for each row, of what identifies the example, the rank of the row and itself.

    target: a file, or '-' for the standard output. The first row says what the columns are. ranked: that there is a
    rank, from 1 on, among them.
    """
    with _opened(target) as file:
        writer = csv.writer(file, lineterminator="\n")
        columns: list[str] = []

        def write(example: Mapping[str, Any], rows: Sequence[Row]) -> None:
            for rank, row in enumerate(rows, 1):
                values = {**example, **({"rank": rank} if ranked else {}), **row}
                if not columns:
                    columns.extend(values)
                    writer.writerow(columns)
                writer.writerow([values.get(name, "") for name in columns])

        yield write


@contextmanager
def json_table(target: str | Path) -> Iterator[Write]:
    """Yields write(example, rows): {..., "predictions": [row, ...]} for each example, all in one list, a line each.

    target: a file, or '-' for the standard output. What is no finite number is null. The list is ended whatever
    happens.
    """
    with _opened(target) as file:
        between = "[\n"

        def write(example: Mapping[str, Any], rows: Sequence[Row]) -> None:
            nonlocal between
            value = {**example, "predictions": [{name: plain(cell) for name, cell in row.items()} for row in rows]}
            file.write(between + json.dumps(value, allow_nan=False))
            between = ",\n"

        try:
            yield write
        finally:
            file.write("[]\n" if between == "[\n" else "\n]\n")


@contextmanager
def _opened(target: str | Path) -> Iterator[IO[str]]:
    if target == STDOUT:
        yield sys.stdout
        return
    with written(target).open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        yield file


def plain(value: Any) -> Any:
    """A value as JSON has it: null for what is no finite number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
