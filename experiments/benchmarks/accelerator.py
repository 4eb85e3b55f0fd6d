"""What this project does on the accelerator that JAX sees: whether it trains alike there, and how fast.

Command: python experiments/benchmarks/accelerator.py --out=runs/accelerator
Time: on one H200 half a minute for the losses, 4 minutes for ours, 5 for PyTorch's; nearly all of it is compilation

Losses: digits and the toy tasks of tests/toys are trained for 20 steps by the command line, on the CPU and on the
accelerator's devices by jit, fsdp and pmap, with float32 products at the highest precision; the largest relative
difference of a loss from the CPU's stands in the table, for digits also at the default precision, which is TF32 on most
GPUs. A second run of the same command on the same devices says whether the numbers come out bit for bit.

Speed: train steps of ResNet-50 and EfficientNet-B0, batches of 128 images of 224 x 224 that stay on the device, by SGD
with momentum 0.9, in bfloat16 and float32. Ours is the project's own step, which also counts metrics and skips updates
that are not finite. Beside it, where torch and torchvision are installed, the same networks in PyTorch, channels_last,
with TF32: eager, and for bfloat16, which is by autocast, also compiled. The share of the peak is 6 x multiply-adds per
example and second over what JAX reaches in a product of two 8192 x 8192 matrices of that type.

Writes accelerator.md to --out, anew after each row. Exit code 1 where a loss differs by more than --tolerance.
"""

import concurrent.futures
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from cnn_jax.devices import set_xla_flags
from cnn_jax.launch import cli, script
from cnn_jax.paths import written

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STEPS = 20
PARTS = ("losses", "speed", "torch")
WAYS = ("jit", "fsdp", "pmap")
PRECISIONS = ("bfloat16", "float32")
ACCELERATOR = "accelerator"

ONLY = flags.DEFINE_list("parts", list(PARTS), f"which parts: {', '.join(PARTS)}")
TOLERANCE = flags.DEFINE_float("tolerance", 1e-3, "the largest relative difference of a loss", lower_bound=0.0)
NETS = flags.DEFINE_list("networks", ["resnet50", "efficientnet_b0"], "which networks are timed")
SECONDS = flags.DEFINE_float("seconds", 3.0, "how long a step is repeated, about", lower_bound=0.1)
BATCH = flags.DEFINE_integer("batch", 128, "images of a step", lower_bound=2)
OUT = flags.DEFINE_string("out", "runs/accelerator", "folder the table is written to")
QUICK = flags.DEFINE_bool("quick", False, "digits alone, tiny images and networks: to see that everything works")


class Page:
    """The table, written anew with each line."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.lines = folder / "accelerator.md", list[str]()

    def add(self, *lines: str) -> None:
        self.lines += lines
        self.path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        print(*lines, sep="\n", flush=True)

    def heading(self, cells: Sequence[str]) -> None:
        self.add("", _row(cells), _row(["---"] * len(cells)))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    if unknown := set(ONLY.value) - set(PARTS):
        raise cli.UsageError(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    # The runs below share the device with this process.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if unknown := set(NETS.value) - {network.name for network in NETWORKS}:
        raise cli.UsageError(
            f"no network {', '.join(sorted(unknown))}: there are: {', '.join(n.name for n in NETWORKS)}"
        )
    page = Page(written(OUT.value))
    worst = 0.0
    if "losses" in ONLY.value:  # in processes of their own, and before this one takes the device
        worst = losses(page, written(OUT.value) / "runs")
    if "speed" in ONLY.value or "torch" in ONLY.value:
        speeds(page)
    print(page.path)
    if not worst <= TOLERANCE.value:  # not a number is a failure too
        raise script.Failed(f"losses differ from the CPU's by {worst:.1e}, more than {TOLERANCE.value:.0e}")


class Job(NamedTuple):
    """One training by the command line."""

    file: Path
    platform: str
    way: str
    matmul: str
    name: str

    def folder(self, runs: Path) -> Path:
        return runs / f"{self.file.stem}-{self.name}"


def losses(page: Page, runs: Path) -> float:
    """The table of relative differences; returns the largest of those at the highest precision."""
    files = [ROOT / "experiments" / "digits.py"]
    toys = sorted(file for file in (ROOT / "tests" / "toys").glob("*.py") if not file.stem.endswith("_report"))
    files += [] if QUICK.value else toys
    if not toys:
        print("tests/toys is not here: digits alone is trained")
    ways = WAYS[:1] if QUICK.value else WAYS
    jobs = [Job(file, "cpu", "jit", "highest", "cpu") for file in files]
    jobs += [Job(file, ACCELERATOR, way, "highest", way) for way in ways for file in files]
    jobs += [
        Job(files[0], ACCELERATOR, "jit", "highest", "again"),
        Job(files[0], ACCELERATOR, "jit", "default", "default"),
    ]
    # Each is a process that mostly waits for its compiler.
    with concurrent.futures.ThreadPoolExecutor(max(1, min(8, (os.cpu_count() or 1) // 2))) as pool:
        found = dict(zip(jobs, pool.map(partial(_train, runs=runs), jobs), strict=True))
    rows = {(job.file, job.name): values for job, values in found.items()}
    page.heading(["losses of 20 steps, largest relative difference from the CPU", *ways, "the same command again"])
    worst = 0.0
    for file in files:
        reference = rows[file, "cpu"]
        differences = [_difference(rows[file, way], reference) for way in ways]
        worst = max(worst, *differences, key=lambda value: np.inf if np.isnan(value) else value)
        again = rows.get((file, "again"))
        same = (
            ""
            if again is None
            else "equal bits"
            if np.array_equal(again, rows[file, "jit"])
            else (f"{_difference(again, rows[file, 'jit']):.1e}")
        )
        page.add(_row([file.stem, *(f"{value:.1e}" for value in differences), same]))
    default = _difference(rows[files[0], "default"], rows[files[0], "cpu"])
    page.add(_row([f"{files[0].stem}, default precision of products", f"{default:.1e}", *[""] * len(ways)]))
    return worst


def _train(job: Job, runs: Path) -> np.ndarray:
    """Trains in a process of its own; returns the losses [steps]."""
    from cnn_jax.report import log

    folder = job.folder(runs)
    path = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(path)}
    if job.platform == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    config = {
        "duration": f"{STEPS} steps",
        "log_every": "1 steps",
        "save_every": "0 steps",
        "evaluate.test": "never",
        "evaluate.every": "0 steps",
        "compute.parallel": job.way,
        "compute.matmul": job.matmul,
        "compute.devices": 1 if job.platform == "cpu" else 0,
    }
    words = [f"--config.{name}={value}" for name, value in config.items()]
    command = [
        sys.executable,
        str(ROOT / "launch.py"),
        "train",
        str(job.file),
        f"--workdir={folder}",
        "--fresh",
        *words,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise script.Failed(f"{job.file.stem}, {job.name}: {done.stderr.strip()[-2000:]}")
    return np.array([row["loss"] for row in log.read(folder) if row["split"] == "train"])


def _difference(found: np.ndarray, reference: np.ndarray) -> float:
    if found.shape != reference.shape:
        return float("nan")
    return float(np.max(np.abs(found - reference) / np.abs(reference)))


class Network(NamedTuple):
    """A variant of this project, which is called the same in torchvision."""

    title: str
    name: str


NETWORKS = (Network("ResNet-50", "resnet50"), Network("EfficientNet-B0", "efficientnet_b0"))


def speeds(page: Page) -> None:
    """The table of train steps."""
    shape = (32, 32, 3) if QUICK.value else (224, 224, 3)
    page.heading(["train step", "precision", "by", "ms", "images/s", "share of the peak", "compilation, s"])
    networks = [network for network in NETWORKS if network.name in NETS.value][: 1 if QUICK.value else None]
    product = 256 if QUICK.value else 8192
    peaks: dict[str, float] = {}
    if "speed" in ONLY.value:
        peaks = {precision: _peak(precision, product) for precision in PRECISIONS}
        page.lines.insert(0, _about(peaks, product))
        for network in networks:
            for precision in PRECISIONS:
                _ours(page, network, precision, shape, peaks)
    if "torch" in ONLY.value:
        if any(importlib.util.find_spec(name) is None for name in ("torch", "torchvision")):
            print("torch and torchvision are not both installed: their rows are left out")
            return
        for network in networks:
            for precision in PRECISIONS:
                for way in ("eager", "compiled") if precision == "bfloat16" else ("eager",):
                    _theirs(page, network, precision, way, shape, peaks)


def _about(peaks: dict[str, float], product: int) -> str:
    import jax

    speeds = ", ".join(f"{peak / 1e12:,.1f} TFLOP/s in {name}" for name, peak in peaks.items())
    device = jax.devices()[0]
    return (
        f"{len(jax.devices())} x {device.device_kind} ({device.platform}), jax {jax.__version__}; "
        f"a product of two {product} x {product} matrices: {speeds}"
    )


def _timed(call: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """Median seconds of a call, of five repetitions that last SECONDS together; each waits once, at its end."""
    for _ in range(3):
        wait(call())
    began = time.perf_counter()
    wait(call())
    count = max(1, round(SECONDS.value / 5 / (time.perf_counter() - began)))
    found = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(count):
            last = call()
        wait(last)
        found.append((time.perf_counter() - began) / count)
    return statistics.median(found)


def _peak(precision: str, size: int) -> float:
    """FLOP/s of a product of two [size, size] matrices of normal numbers."""
    import jax

    x, y = jax.random.normal(jax.random.key(0), (2, size, size), precision)
    multiply = jax.jit(jax.numpy.matmul)
    return 2 * size**3 / _timed(lambda: multiply(x, y), jax.block_until_ready)


def _ours(page: Page, network: Network, precision: str, shape: tuple[int, ...], peaks: dict[str, float]) -> None:

    from cnn_jax.augment.compose import identity
    from cnn_jax.config import Compute, Data, Experiment, Model, Optim
    from cnn_jax.data.batches import training_batch
    from cnn_jax.data.source import opened
    from cnn_jax.inspect.anatomy import count_macs
    from cnn_jax.lookup import lookup
    from cnn_jax.tasks.classify import classify
    from cnn_jax.train.optim import sgd
    from cnn_jax.train.run import assemble, fresh
    from cnn_jax.train.schedules import constant

    build = lookup(network.name)
    config = Experiment(
        name="speed",
        data=Data(source=partial(_noise, shape=shape), validation=0.0, batch_size=BATCH.value),
        model=Model(build=build, task=classify),
        optim=Optim(build=sgd, lr=1e-3, schedule=constant),
        augment=identity,
        compute=Compute(precision=precision),
    )
    source = opened(config.data.source, validation=0.0)["train"]
    run = assemble(config, source.spec, len(source))
    state = fresh(run)
    batch = run.engine.place_batch(training_batch(source, 0, 0, BATCH.value))

    def step() -> Any:
        nonlocal state
        state, fetch = run.engine.step(state, batch)
        return fetch

    began = time.perf_counter()
    step()()
    compiling = time.perf_counter() - began
    seconds = _timed(step, lambda fetch: fetch())
    macs = count_macs(build(classes=1000), shape)
    _speed_row(page, network, precision, "cnn_jax", seconds, macs, peaks, compiling - seconds)


def _noise(shape: tuple[int, ...]) -> Any:
    """An image of each of 1,000 classes, as a source."""
    from cnn_jax.data.prepare import ImagePrepare
    from cnn_jax.data.splits import array_splits

    draw = np.random.default_rng(0)
    arrays = {"image": draw.integers(256, size=(1000, *shape), dtype=np.uint8), "label": np.arange(1000)}
    return array_splits(
        "noise",
        {"train": arrays},
        ImagePrepare(size=shape[:2], channels=3),
        inputs={"image": "image"},
        targets={"label": "label"},
        classes=[str(number) for number in range(1000)],
        licence="",
        citation="",
    )


def _theirs(
    page: Page, network: Network, precision: str, way: str, shape: tuple[int, ...], peaks: dict[str, float]
) -> None:
    from cnn_jax.inspect.anatomy import count_macs
    from cnn_jax.lookup import lookup

    job = dict(name=network.name, precision=precision, way=way, batch=BATCH.value, size=shape[0], seconds=SECONDS.value)
    command = [sys.executable, str(HERE / "accelerator_torch.py"), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        page.add(_row([network.title, precision, f"torch, {way}", f"stopped: {reason[:200]}", *[""] * 3]))
        return
    found = json.loads(done.stdout.splitlines()[-1])
    macs = count_macs(lookup(network.name)(classes=1000), shape)
    by = f"torch {found['version']}, {way}"
    _speed_row(page, network, precision, by, found["step"], macs, peaks, found["first"] - found["step"])


def _speed_row(
    page: Page,
    network: Network,
    precision: str,
    by: str,
    seconds: float,
    macs: int,
    peaks: dict[str, float],
    compiling: float,
) -> None:
    rate = BATCH.value / seconds
    share = f"{6 * macs * rate / peaks[precision]:.0%}" if precision in peaks else ""
    page.add(_row([network.title, precision, by, f"{1000 * seconds:.1f}", f"{rate:,.0f}", share, f"{compiling:.1f}"]))


if __name__ == "__main__":
    set_xla_flags()
    script.run(main)
