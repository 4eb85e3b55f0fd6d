"""What a run has cost: operations, energy, and what they are compared with."""

import ctypes
import json
from pathlib import Path
from typing import Any

import jax
import pytest

from cnn_jax.config import Experiment
from cnn_jax.data.source import ArraySource
from cnn_jax.inspect.anatomy import count_macs, products
from cnn_jax.train import cost, energy, peak
from cnn_jax.train.energy import Energy
from cnn_jax.train.run import assemble


@pytest.mark.parametrize(
    ("parallel", "convolution", "devices"), [("jit", "auto", 4), ("fsdp", "native", 2), ("pmap", "auto", 2)]
)
def test_a_step_is_counted_alike_however_it_is_compiled(
    parallel: str,
    convolution: str,
    devices: int,
    config: Experiment,
    source: ArraySource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forward pass, gradients of all kernels, and of all inputs but the images. XLA counts no products with padding."""
    config.compute.parallel, config.compute.convolution, config.compute.devices = parallel, convolution, devices
    monkeypatch.setattr(cost, "peak", lambda precision: 1e9)
    run = assemble(config, source.spec, len(source))
    rows: list[dict[str, Any]] = [
        {"split": "train", "examples_per_second": speed} for speed in (1.0, 200.0, 400.0, 240.0)
    ]
    found = cost.cost(run, rows, Energy(7.2e6, "guessed"))
    assert found
    forward, first = count_macs(run.model, source.spec.input.shape), 8 * 8 * 3 * 3 * 8
    assert found["multiply_adds"] == forward > 2 * first
    assert found["step_multiply_adds"] == 16 * (3 * forward - first)
    assert 0.8 < found["step_flops"] / (2 * found["step_multiply_adds"]) < 2
    assert found["examples_per_second"] == 240.0
    assert found["share_of_peak"] == pytest.approx(2 * (3 * forward - first) * 240 / (devices * 1e9))
    assert found["memory_of"] == "process" and found["memory"] > 10**8
    assert json.loads(json.dumps(found)) == found
    assert "240 examples/s" in cost.said(found) and "2 kWh\n  energy guessed" in cost.said(found)
    assert "examples/s" not in cost.said(cost.cost(run, rows[:1], Energy(None, "not measured: why")) or {})


def test_a_cost_that_cannot_be_said_loses_nothing() -> None:
    with pytest.warns(UserWarning, match="what the run has cost is not known: AttributeError: 'NoneType'"):
        assert cost.cost(None, [], Energy(None, "")) is None  # type: ignore[arg-type]


def test_what_runs_in_a_loop_counts_as_often_as_it_turns() -> None:
    def program(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, _: (y @ x, None), x, None, length=5)[0]

    assert products(jax.make_jaxpr(program)(jax.ShapeDtypeStruct((4, 4), "float32")).jaxpr) == 5 * 4**3


def test_a_cpu_s_energy_is_estimated_by_a_stated_assumption(monkeypatch: pytest.MonkeyPatch) -> None:
    worked = iter([10.0, 12.5, 10.0, 12.5])
    monkeypatch.setattr(energy.time, "process_time", lambda: next(worked))
    taken = energy.going_on(energy.meter(), 100.0)()
    assert taken.joules == 100 + 2.5 * 12 and "12 W for each second that a core worked" in taken.by
    monkeypatch.setenv(energy.SETTING, "4")
    assert energy.going_on(energy.meter(), None)().joules == 2.5 * 4
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv(energy.SETTING, wrong)
        with pytest.raises(ValueError, match=f"CNN_JAX_WATTS={wrong}: write the watts of a core, as CNN_JAX_WATTS=12"):
            energy.meter()


class Nvml:
    """Two GPUs; the counter of the second goes up by 1.5 J with each look."""

    def __init__(self, *, counts: bool) -> None:
        self.counts, self.looks = counts, 0

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: ctypes.c_uint, handle: Any) -> int:
        handle._obj.value = 100 + number.value
        return 0

    def nvmlDeviceGetHandleByUUID(self, name: ctypes.c_char_p, handle: Any) -> int:
        handle._obj.value = {b"GPU-b": 101}[name.value or b""]
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, found: Any) -> int:
        self.looks += handle.value == 101
        found._obj.value = {100: 5_000, 101: 7_000 + 1_500 * self.looks}[handle.value or 0]
        return 0 if self.counts else 3


@pytest.mark.parametrize("visible", ["", "1", "GPU-b"])
def test_gpus_are_read_by_nvml(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy.ctypes, "CDLL", lambda name: Nvml(counts=True))
    monkeypatch.setattr(energy.jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    own = energy._counters([0] if visible else [0, 1])
    assert own is not None and own() == (0 if visible else 5) + 7 + 1.5 * 2 and own() - own() == -1.5


@pytest.mark.parametrize("why", ["no library", "no counter"])
def test_energy_that_is_not_measured_is_not_made_up(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def library(name: str) -> Nvml:
        if why == "no library":
            raise OSError(name)
        return Nvml(counts=False)

    monkeypatch.setattr(energy.ctypes, "CDLL", library)
    monkeypatch.setattr(energy.jax, "default_backend", lambda: "gpu")
    taken = energy.going_on(energy.meter(), 3.0)()
    assert taken == Energy(None, "not measured: cpu has no counter that NVML reads")


def test_the_speed_of_a_product_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(peak, "_measured", lambda devices, precision: measured.append(precision) or 2e9)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert [peak.peak(name) for name in ("float32", "bfloat16", "float32")] == [2e9, 2e9, 2e9]
    assert measured == ["float32", "bfloat16"]
    (tmp_path / peak.PEAK).write_text("{")
    assert peak.peak("float32") == 2e9 and measured[2:] == ["float32"]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    assert peak.peak("float32") == 2e9 and len(measured) == 4


def test_a_product_s_speed_is_its_operations_over_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "ON_CPU", (64, 1))
    assert 1e6 < peak._measured(jax.local_devices()[:1], "float32") < 1e15
