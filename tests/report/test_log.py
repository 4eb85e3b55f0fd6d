"""The metric log: what is written is read back, across kills and resumes, in JSON and in TensorBoard."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnn_jax.report import log
from cnn_jax.report.log import MetricLog, read


def write(folder: Path, steps: range, start_step: int | None = None) -> None:
    with MetricLog(folder, start_step) as metrics:
        for step in steps:
            metrics.write(step, "train", {"loss": 1 / step, "seen": step * 8})
            if step % 2 == 0:
                metrics.write(step, "validation", {"top1": step / 100})


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def test_rows_and_events_read_back(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    assert timeless(read(tmp_path)) == [
        {"step": 1, "split": "train", "loss": 1.0, "seen": 8},
        {"step": 2, "split": "train", "loss": 0.5, "seen": 16},
        {"step": 2, "split": "validation", "top1": 0.02},
        {"step": 3, "split": "train", "loss": 1 / 3, "seen": 24},
    ]
    found = events(tmp_path)
    assert sorted(found) == ["loss/train", "seen/train", "top1/validation"]
    assert found["loss/train"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert found["top1/validation"] == [(2, pytest.approx(0.02))]


def test_rows_are_on_disk_before_the_log_is_closed(tmp_path: Path) -> None:
    metrics = MetricLog(tmp_path)
    metrics.write(1, "train", {"loss": 1.0})
    assert len(read(tmp_path)) == 1
    assert events(tmp_path)["loss/train"] == [(1, 1.0)]
    metrics.close()


def test_numpy_and_jax_scalars_become_plain_numbers(tmp_path: Path) -> None:
    values = {"a": jnp.float32(0.5), "b": np.int64(3), "c": jnp.bfloat16(0.25), "d": jnp.int32(2), "e": np.float16(2)}
    with MetricLog(tmp_path) as metrics:
        metrics.write(jnp.int32(1), "train", values)
    (row,) = timeless(read(tmp_path))
    assert row == {"step": 1, "split": "train", "a": 0.5, "b": 3, "c": 0.25, "d": 2, "e": 2.0}
    assert type(row["b"]) is type(row["d"]) is int


def test_not_a_number_stays_valid_json(tmp_path: Path) -> None:
    with MetricLog(tmp_path) as metrics:
        metrics.write(1, "train", {"a": math.nan, "b": math.inf, "c": -math.inf})
    text = (tmp_path / "metrics.jsonl").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse)["a"] == "NaN"
    (row,) = read(tmp_path)
    assert math.isnan(row["a"])
    assert (row["b"], row["c"]) == (math.inf, -math.inf)
    MetricLog(tmp_path).close()  # the events are made anew from the rows
    assert math.isnan(events(tmp_path)["a/train"][0][1])


def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    write(tmp_path / "whole", range(1, 11), 0)
    write(tmp_path / "parts", range(1, 8), 0)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "split": "tra')  # a kill in the middle of a line
    kept = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()[:7]
    write(tmp_path / "parts", range(6, 11), 5)
    assert timeless(read(tmp_path / "parts")) == timeless(read(tmp_path / "whole"))
    assert events(tmp_path / "parts") == events(tmp_path / "whole")
    # The rows that stay are not rewritten, time included.
    assert (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()[:7] == kept
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_without_a_start_step_everything_is_kept_and_from_zero_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    MetricLog(tmp_path).close()
    assert len(read(tmp_path)) == 4
    MetricLog(tmp_path, 0).close()
    assert read(tmp_path) == []
    assert events(tmp_path) == {}


@pytest.mark.parametrize(
    "torn", [b"{", b'{"step": 3, "spl', b'{"step": 3, "x": "\xe2\x82', b"\x00" * 9, b"3", b'{"a": 1}']
)
def test_a_torn_last_line_is_left_out_and_repaired(tmp_path: Path, torn: bytes) -> None:
    write(tmp_path, range(1, 3))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert [row["step"] for row in read(tmp_path)] == [1, 2, 2]
    write(tmp_path, range(3, 4))
    assert [row["step"] for row in read(tmp_path)] == [1, 2, 2, 3]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_whole_last_row_without_its_newline_is_kept(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    write(tmp_path, range(3, 4))
    assert [row["step"] for row in read(tmp_path)] == [1, 2, 2, 3]


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\noops\n{"step": 2, "split": "train"}\n')
    for use in (read, MetricLog):
        with pytest.raises(ValueError, match="line 2 of .*metrics.jsonl"):
            use(tmp_path)


def test_a_kill_while_truncating_leaves_the_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, range(1, 4))
    before = read(tmp_path)

    def killed(*paths: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricLog(tmp_path, 1)
    monkeypatch.undo()
    assert read(tmp_path) == before


def test_no_log_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no metrics.jsonl in"):
        read(tmp_path)


def test_importing_the_log_stays_light() -> None:
    code = (
        "import sys, cnn_jax.report.log; print([m for m in ('matplotlib', 'tensorboardX', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_words_for_not_finite_are_read_by_float() -> None:
    for word, value in log.NOT_FINITE.items():
        assert float(word) == value or (math.isnan(float(word)) and math.isnan(value))


def test_a_lost_log_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="metrics.jsonl' is gone: the log begins anew after step 7"):
        MetricLog(tmp_path, 7).close()
    (tmp_path / log.FILE).write_bytes(b"\xef\xbb\xbf" + b'{"step": 3, "split": "train"}\n')  # as some editors save it
    assert read(tmp_path) == [{"step": 3, "split": "train"}]
