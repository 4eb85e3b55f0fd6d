"""The benchmark of accelerators in its small form, on the CPU: losses are compared and steps are timed."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnn_jax.launch import script


def test_losses_and_steps_stand_in_one_table(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # which main sets: it goes again after the test
    benchmark = load("accelerator")
    small = {
        "ONLY": ["losses", "speed"], "QUICK": True, "NETS": ["small_cnn"], "BATCH": 8, "SECONDS": 0.1,
        "OUT": str(tmp_path), "TOLERANCE": 1e-3,
    }  # fmt: skip
    for name, value in small.items():
        monkeypatch.setattr(benchmark, name, SimpleNamespace(value=value))
    monkeypatch.setattr(benchmark, "NETWORKS", (benchmark.Network("a small CNN", "small_cnn"),))
    benchmark.main()
    lines = (tmp_path / "accelerator.md").read_text().splitlines()
    (digits,) = [line.split(" | ") for line in lines if line.startswith("| digits |")]
    assert 0 <= float(digits[1]) < 1e-5 and digits[2] == "equal bits |"
    steps = [line.split(" | ") for line in lines if line.startswith("| a small CNN |")]
    assert [row[1] for row in steps] == ["bfloat16", "float32"] and all(float(row[3]) > 0 for row in steps)
    # A training that comes out otherwise ends with a failure.
    monkeypatch.setattr(benchmark, "ONLY", SimpleNamespace(value=["losses"]))
    monkeypatch.setattr(benchmark, "losses", lambda *_: 1e-2)
    with pytest.raises(script.Failed, match="losses differ from the CPU's by 1.0e-02, more than 1e-03"):
        benchmark.main()
