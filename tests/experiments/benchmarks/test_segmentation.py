"""The benchmark of segmentation: its tables are made, without PyTorch too, and sides that differ are noticed."""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnn_jax.launch import script


@pytest.fixture
def benchmark(load: Callable[[str], Any]) -> Any:
    return load("segmentation")


def test_both_tables_are_made(benchmark: Any) -> None:
    torch = importlib.util.find_spec("torch") is not None
    for works in ([benchmark.Work(2, 1, 8, 2)], [benchmark.Work(2, 1, 12, 1, 8)]):  # without a way down and up
        head, row = benchmark.compared("what", works, 1, torch=torch).strip().splitlines()
        said, ours, *theirs = (cell for cell in row.split("  ") if cell)
        assert head.startswith("what") and said == works[0].said() and float(ours) >= 0
        assert torch or [cell.strip() for cell in theirs] == ["–"] * 3


def test_sides_that_compute_something_else_are_noticed(benchmark: Any) -> None:
    step, windows = benchmark.TINY_STEPS[0], benchmark.TINY_WINDOWS[0]
    benchmark.check(step, np.asarray(1.0), np.asarray(1.0005))
    benchmark.check(windows, np.zeros((1, 24, 24)), np.zeros((1, 24, 24)))
    with pytest.raises(script.Failed, match="the loss is 1.000000, PyTorch's is 1.002000"):
        benchmark.check(step, np.asarray(1.0), np.asarray(1.002))
    with pytest.raises(script.Failed, match="PyTorch finds other classes in 100.0% of the pixels"):
        benchmark.check(windows, np.zeros((1, 24, 24)), np.ones((1, 24, 24)))
