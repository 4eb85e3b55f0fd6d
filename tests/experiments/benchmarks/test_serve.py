"""The benchmark of evaluation and prediction: both kinds of rows are made, without PyTorch too."""

import importlib
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from absl import flags

from cnn_jax.models.mnist_cnn import mnist_cnn

BENCHMARKS = Path(__file__).parents[3] / "experiments" / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """The script as a module. Its flags go again: others have such names."""
    before = set(flags.FLAGS)
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCHMARKS)])
    yield importlib.import_module("serve")
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    sys.modules.pop("serve")


def test_rows_are_made(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:1])
    said, *times = benchmark.split_row("tiny", benchmark.Split(mnist_cnn, (8, 8, 1), 3, 4, 2), 1)
    assert said == "tiny, 8 images in batches of 4" and all(float(time) >= 0 for time in times)
    name, ours, *theirs = benchmark.one_row("tiny", mnist_cnn, 8, 1, torch=False)
    assert name == "tiny" and float(ours) > 0 and theirs == ["–", "–"]
