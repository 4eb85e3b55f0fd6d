"""The metric log of a run: metrics.jsonl is the source of truth, the TensorBoard events are made from it.

A row is one JSON object per line: {"step": 100, "split": "train", "loss": 0.7, "time": 1.7e9}, where time is in seconds
since 1970. JSON has no NaN or infinity: they are written as the strings "NaN", "Infinity" and "-Infinity", which
`read` (and float() in Python, Number() in JavaScript) turns back into numbers.
"""

import json
import math
import os
import socket
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

FILE = "metrics.jsonl"
LARGEST = 256 * 2**20  # bytes of a log that `read` reads
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricLog:
    """Appends rows to `folder`/metrics.jsonl and the same scalars to TensorBoard events in `folder`/tensorboard.

    `start_step` is the step that training starts or resumes from: rows of later steps are dropped, so the log of a
    resumed run equals that of an uninterrupted one (apart from time). Log the rows of step k before saving checkpoint
    k, or a resume may miss them. With None all rows are kept. Opening repairs a last line cut off by a kill, and
    writes the events anew from the rows that stay.

    unscored: what was to be evaluated at `start_step` will be evaluated again, so only rows of training stay of it.

    Rows are flushed as they are written. Only one process may write (process 0 of a multi-host run). Raises ValueError
    if metrics.jsonl is damaged before its last line.
    """

    def __init__(self, folder: str | Path, start_step: int | None = None, *, unscored: bool = False) -> None:
        # Here and not at the top: who only reads a log needs no TensorBoard.
        from tensorboardX.record_writer import RecordWriter

        folder = Path(folder)
        events = folder / "tensorboard"
        events.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        if start_step and not path.exists():
            warnings.warn(f"'{path}' is gone: the log begins anew after step {start_step}", stacklevel=2)
        kept = _kept(path, start_step, unscored)
        text = "".join(text + "\n" for text, _ in kept)
        if not path.exists() or path.read_bytes() != text.encode():
            _replace(path, text)
        self._rows = path.open("a", encoding="utf-8")

        old = list(events.glob("events.out.tfevents.*"))
        # tensorboardX's SummaryWriter names its file by the second and would overwrite one of the same second.
        self._events = RecordWriter(str(events / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"))
        _write_header(self._events)
        for _, row in kept:
            _write_event(self._events, row)
        self._events.flush()
        for file in old:
            file.unlink()

    def write(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Log scalar `metrics` (Python, NumPy or JAX numbers) of `split` ("train", "validation", ...) after `step`.

        In TensorBoard they appear as NAME/SPLIT, so train and validation stand side by side.
        """
        row = {"step": int(step), "split": split}
        row |= {name: _number(value) for name, value in metrics.items()}
        row["time"] = round(time.time(), 3)
        safe = {name: _text(value) if isinstance(value, float) else value for name, value in row.items()}
        self._rows.write(json.dumps(safe, allow_nan=False) + "\n")
        self._rows.flush()
        _write_event(self._events, row)
        self._events.flush()

    def sync(self) -> None:
        """Waits until every row is on the disk itself, and would be there after a cut of the power."""
        os.fsync(self._rows.fileno())

    def close(self) -> None:
        """Close both files; every row is already on disk."""
        self._rows.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NoLog:
    """The log of a process that writes none, as process 0 does."""

    def write(self, step: int, split: str, metrics: Mapping[str, Any]) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""


def read(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of `folder`/metrics.jsonl in the order they were written, NaN and infinity as floats again.

    A last line that is cut off is left out. Raises FileNotFoundError without a log, ValueError if it is damaged or has
    more than LARGEST bytes.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"no {FILE} in {folder}: name the folder of a run that has trained")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has more than {LARGEST:,} bytes")
    return [row for _, row in _lines(path)]


def read_until(folder: str | Path, step: int, *, unscored: bool = False) -> list[dict[str, Any]]:
    """The rows that a `MetricLog` of these arguments goes on with; none where there is no log."""
    return [row for _, row in _kept(Path(folder) / FILE, step, unscored)]


def _kept(path: Path, start_step: int | None, unscored: bool) -> list[tuple[str, dict[str, Any]]]:
    lines = _lines(path) if path.exists() else []
    kept = [(text, row) for text, row in lines if start_step is None or row["step"] <= start_step]
    if unscored:
        kept = [(text, row) for text, row in kept if row["step"] != start_step or row["split"] == "train"]
    return kept


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each whole line as (text, row)."""
    lines = path.read_bytes().decode("utf-8-sig", errors="replace").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    rows = []
    for number, text in enumerate(lines, start=1):
        try:
            row = _row(json.loads(text))
        except (ValueError, RecursionError):
            if number == len(lines):
                break
            raise ValueError(f"line {number} of {path} is no metric row: delete that line to go on") from None
        rows.append((text, row))
    return rows


def _row(values: Any) -> dict[str, Any]:
    """A row as `write` makes them, from its JSON. Raises ValueError for anything else."""
    if not isinstance(values, dict) or not isinstance(values.get("split"), str):
        raise ValueError("no row")
    row = dict(values)
    for name, value in values.items():
        if isinstance(value, float) or name == "split":
            continue
        if isinstance(value, str):
            value = row[name] = NOT_FINITE.get(value, value)
        if not isinstance(value, int | float) or (isinstance(value, int) and abs(value) >= 2**63):
            raise ValueError("no number")
    step = row.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise ValueError("no step")
    return row


def _replace(path: Path, text: str) -> None:
    """Write the file so that a kill at any moment leaves either the old or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)  # which may be a link to anywhere
    with temporary.open("xb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _number(value: Any) -> int | float:
    array = np.asarray(value)
    return int(array) if array.dtype.kind in "iub" else float(array)


def _text(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _write_header(writer: Any) -> None:
    """Start an event file; the session start makes a viewer that has it open forget the events of older files."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    start = SessionLog(status=SessionLog.START)
    writer.write(Event(wall_time=time.time(), step=0, session_log=start).SerializeToString())


def _write_event(writer: Any, row: Mapping[str, Any]) -> None:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    scalars = {name: value for name, value in row.items() if isinstance(value, int | float)}
    step, wall_time = scalars.pop("step"), scalars.pop("time", 0.0)
    values = [Summary.Value(tag=f"{name}/{row['split']}", simple_value=value) for name, value in scalars.items()]
    writer.write(Event(wall_time=wall_time, step=step, summary=Summary(value=values)).SerializeToString())
