"""What a child of `launch.py` is started with."""

from pathlib import Path

import pytest

from cnn_jax.launch import child


def test_cores_and_gpus_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GPUS", tmp_path)
    monkeypatch.setattr(child, "cores", lambda: 8)
    monkeypatch.setenv("XLA_FLAGS", f"--a {child.COUNT}=8")
    for name in ("JAX_PLATFORMS", child.VISIBLE, child.MEMORY, child.PREALLOCATE):
        monkeypatch.delenv(name, raising=False)
    cores = {"XLA_FLAGS": f"--a {child.COUNT}=2"}
    assert child.share(0, 1) == {} and child.share(2, 3) == cores
    for number in range(4):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    assert child.share(1, 4) == {**cores, child.VISIBLE: "1"}
    assert child.share(1, 2) == {"XLA_FLAGS": f"--a {child.COUNT}=4", child.VISIBLE: "2,3"}
    monkeypatch.setenv(child.VISIBLE, "5,7")
    assert child.share(1, 3) == {**cores, child.VISIBLE: "7", child.MEMORY: "0.45"}
    monkeypatch.setenv(child.PREALLOCATE, "false")
    assert child.share(2, 3) == {**cores, child.VISIBLE: "5"}
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert child.share(2, 3) == cores
    monkeypatch.setenv("XLA_FLAGS", f"--a {child.COUNT}=64")  # someone's own
    assert child.share(2, 3) == {"XLA_FLAGS": f"--a {child.COUNT}=64"}
