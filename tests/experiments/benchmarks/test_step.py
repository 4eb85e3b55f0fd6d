"""The benchmark of the train step: its networks are the same ones, it runs, and its page says what was measured."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.inspect.anatomy import count_macs, count_params

BENCHMARKS = Path(__file__).parents[3] / "experiments" / "benchmarks"
# examples, classes, parameters, multiply-adds
NETWORKS = {
    "mnist_cnn": ((28, 28, 1), 10, 824_458, 4_643_840),
    "resnet18": ((32, 32, 3), 10, 11_173_962, 555_422_720),
    "resnet20": ((32, 32, 3), 10, 269_722, 40_551_040),
    "mobilenet_v2": ((32, 32, 3), 10, 2_236_682, 87_976_448),
    "resnet50": ((224, 224, 3), 1000, 25_557_032, 4_089_184_256),
    "m5": ((16_000, 1), 10, 559_114, 139_465_728),
    "unet": ((64, 64, 1), 11, 1_942_459, 189_005_824),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_variants_are_the_same_network(name: str, load: Any) -> None:
    shape, classes, params, macs = NETWORKS[name]
    project, stock = (version(classes=classes) for version in load("on_jax").NETS[name])
    assert count_params(stock, shape) == params
    assert count_macs(stock, shape) == count_macs(project, shape) == macs
    torch = pytest.importorskip("torch")
    on_torch = load("on_torch")
    net = on_torch.build(name, list(shape), classes)
    x = torch.zeros(1, shape[-1], *shape[:-1])
    assert on_torch.counts(net, x) == {"params": params, "macs": macs}


@pytest.mark.parametrize("name", ["m5", "resnet50"])
def test_stock_layers_compute_the_same(name: str, load: Any) -> None:
    """From the same key the same weights, as the layers have the same names."""
    x = np.random.default_rng(0).normal(size=(2, *((100, 1) if name == "m5" else (32, 24, 3)))).astype(np.float32)

    def logits(version: Any) -> jax.Array:
        net = version(classes=3)
        net = net.clone(blocks=(1, 1), features=8)
        return jax.jit(partial(net.init_with_output, train=True))(jax.random.key(0), x)[0][0]

    project, stock = map(logits, load("on_jax").NETS[name])
    assert np.abs(project).max() > 0.1
    np.testing.assert_allclose(project, stock, rtol=1e-4, atol=1e-4)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BENCHMARKS / "step.py"), *words], capture_output=True, text=True)


def test_a_quick_run_writes_numbers_page_and_figure(tmp_path: Path) -> None:
    done = run("--quick", "--rounds=2", "--workloads=mnist_cnn", "--variants=project,flax,torch", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "step.json").read_text())
    measured = record["workloads"]["mnist_cnn"]["variants"]
    assert {"project", "flax"} <= set(measured)
    assert measured["project"]["devices"] == record["cores"] or record["cores"] > 2
    for facts in measured.values():
        for mode in ("forward", "train", "product"):
            assert len(facts[mode]["times"]) == 2 and min(facts[mode]["times"]) > 0
            assert facts[mode]["peak_mb"] > 50
    assert measured["project"]["train"]["compile"] > measured["project"]["train"]["times"][-1]
    assert "| small CNN 16x16x1 b4 | " in (tmp_path / "step.md").read_text()
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_a_misspelt_network_is_said() -> None:
    done = run("--workloads=resnet19")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("error: no resnet19; there are: mnist_cnn, resnet18")


def test_the_page(load: Any) -> None:
    """A product of 10^9 multiply-adds in 1 s: 2 GFLOP/s. Networks of 10^6 multiply-adds, in batches of 10."""

    def facts(train: list[float], forward: list[float]) -> dict[str, Any]:
        common = {"compile": 1.25, "peak_mb": 1234.0}
        times = {"train": train, "forward": forward, "product": [1.0, 5.0, 1.0]}
        return {"macs": 10**6} | {mode: {"times": values} | common for mode, values in times.items()}

    slower = facts([0.12, 0.12, 0.12], [0.08, 0.08, 0.08]) | {"product": {"times": [2.0, 2.0, 2.0]}}
    variants = {
        "project": facts([0.06, 9.0, 0.05], [0.02, 0.02, 0.02]),
        "torch": slower,
        "channels_last": facts([0.09, 0.09, 0.09], [0.1, 0.1, 0.1]),
    }
    alone = {"label": "B", "batch": 10, "variants": {"project": variants["project"]}}
    record = {
        "command": "C",
        "machine": "M",
        "cores": 2,
        "versions": ["jax 1", "torch 2"],
        "rounds": 3,
        "product": 1000,
        "workloads": {"a": {"label": "A", "batch": 10, "variants": variants}, "b": alone},
    }
    page = load("report").table(record)
    assert "`C`, M, 2 cores, jax 1, torch 2." in page
    assert "project 2.0, torch 1.0, channels_last 2.0." in page
    assert "| A | 60.0 (50%) | 120.0 (25%) | 90.0 (33%) | – | 1.50 |" in page  # 60 MFLOP in 60 ms, of 2 GFLOP/s
    assert "| A | 20.0 (50%) | 80.0 (12%) | 100.0 (10%) | – | 4.00 |" in page
    assert "| B | 60.0 (50%) | – | – | – | – |" in page
    assert "| B | 1.2 + 1.2, 1,234 MB | – | – |" in page
