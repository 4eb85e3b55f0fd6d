"""Train step and forward pass of seven networks: this project, stock Flax, and PyTorch eager in both memory formats.

Command: python experiments/benchmarks/step.py --out=runs/step
Time: about half an hour on two CPU cores, which nothing else may use

A train step is forward pass, loss, gradients and an update by SGD with momentum 0.9, in float32, on one batch that
stays where it is; a forward pass is prediction. The variants of a network have equal parameters and multiply-adds
(else this stops) and run in a process each, on the same cores:

  project         this project as it trains by default: its convolutions, pooling and BatchNorm, its own step, one XLA
                  host device per core with the batch split over them, operations in the order of least memory
  flax            the same layers from flax.linen alone (nn.Conv on XLA's convolution, nn.BatchNorm, nn.max_pool,
                  nn.avg_pool, nn.ConvTranspose), with the usual jitted step, split over the same devices
  flax_1_device   the same on one device that uses all cores, which is what happens without XLA_FLAGS; not by default
  torch           PyTorch eager, arrays [B, C, H, W] in memory, as many threads as cores; without PyTorch left out
  channels_last   PyTorch eager, arrays [B, H, W, C] in memory; images only
  project_partitioned
                  this project with one program over all devices that XLA's partitioner cuts up, where by default each
                  device has its own (shard_map): what that alone gives; not by default
  project_bf16, torch_bf16, channels_last_bf16
                  the same with activations of bfloat16 and parameters of float32, PyTorch by autocast; not by default

All of them ask Linux for huge pages, as the command line does: XLA's step gains up to a third by it, PyTorch's less.

They take turns: in each round every variant repeats its step for a while, after two steps that do not count, beginning
with another one each time, and the median over rounds counts. The share of the peak is 2 x multiply-adds FLOP per
example, three times that for a train step, per second, over what the fastest variant reaches in a product of two 2048 x
2048 matrices, which is timed in the same rounds; an algorithm with fewer multiplications, such as Winograd's, can
exceed 100 %. Compilation is the first call's time beyond a usual one. Memory is the most that the process held up to
its third train step, framework and compilation included.

Writes step.md, step.json (all times) and step.png to --out, anew after each network.
"""

import contextlib
import importlib.util
import itertools
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from report import COLOURS, HEADINGS, TORCH, chart, median, table

from cnn_jax.devices import COUNT, HUGE_PAGES, LEAST_MEMORY, SCHEDULER, TUNABLES
from cnn_jax.devices import cores as usable_cores
from cnn_jax.launch import cli, script
from cnn_jax.paths import written


class Workload(NamedTuple):
    """Batches of examples of `shape`, channels last."""

    title: str
    batch: int
    shape: tuple[int, ...]
    classes: int

    def label(self) -> str:
        return f"{self.title} {'x'.join(map(str, self.shape))} b{self.batch}"

    def tiny(self) -> "Workload":
        return self._replace(batch=4, shape=(*(min(size, 16) for size in self.shape[:-1]), self.shape[-1]))


WORKLOADS = {
    "mnist_cnn": Workload("small CNN", 128, (28, 28, 1), 10),
    "resnet18": Workload("ResNet-18", 64, (32, 32, 3), 10),
    "resnet20": Workload("ResNet-20", 128, (32, 32, 3), 10),
    "mobilenet_v2": Workload("MobileNetV2", 64, (32, 32, 3), 10),
    "resnet50": Workload("ResNet-50", 8, (224, 224, 3), 1000),
    "m5": Workload("M5", 32, (16_000, 1), 10),
    "unet": Workload("U-Net", 16, (64, 64, 1), 11),
}
MODES = ("forward", "train", "product")  # forward first: peak memory only grows
LEARNING_RATE = 1e-3
WARM_UP = 2  # steps before those that are timed: a process that has slept must first get its memory and caches back

ONLY = flags.DEFINE_list("workloads", list(WORKLOADS), f"which networks: {', '.join(WORKLOADS)}")
VARIANTS = flags.DEFINE_list(
    "variants", ["project", "flax", "torch", "channels_last"], f"which columns: {', '.join(COLOURS)}"
)
ROUNDS = flags.DEFINE_integer("rounds", 7, "how often each variant is timed", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 1.0, "how long a variant repeats its step in a round, about", lower_bound=0.0)
OUT = flags.DEFINE_string("out", "runs/step", "folder the table, numbers and figure are written to")
QUICK = flags.DEFINE_bool("quick", False, "tiny shapes, one step a round: to see that everything works")


class Child:
    """A variant of a workload in a process of its own, asleep until it is asked to run."""

    def __init__(self, name: str, work: Workload, variant: str, cores: int) -> None:
        self.label = f"{name}, {variant}"
        plain = re.sub("_(bf16|1_device|partitioned)$", "", variant)
        file = "on_torch.py" if plain in TORCH else "on_jax.py"
        devices = 1 if variant == "flax_1_device" else cores
        options = [os.environ.get("XLA_FLAGS", ""), f"{COUNT}={devices}"]
        if plain == "project":
            options.append(f"{SCHEDULER}={LEAST_MEMORY}")
        if QUICK.value:
            options += ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
        environment = os.environ | {
            "XLA_FLAGS": " ".join(options),
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_COMPILATION_CACHE": str(QUICK.value).lower(),
            "OMP_NUM_THREADS": str(cores),
            TUNABLES: HUGE_PAGES,
        }
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(file))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        precision = "bfloat16" if variant.endswith("_bf16") else "float32"
        job = work._asdict() | {"product": _product(), "threads": cores, "lr": LEARNING_RATE, "precision": precision}
        job["partitioned"] = variant.endswith("_partitioned")
        self._tell(workload=name, variant=plain, **job)

    def _tell(self, **words: Any) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # answer() says why it has ended
            print(json.dumps(words), file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """The next one. Raises Failed with its last words if the process has ended instead."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise script.Failed(f"{self.label} stopped: {self.errors.read().strip()[-2000:]}")
        return json.loads(line)

    def run(self, mode: str, steps: int) -> dict[str, Any]:
        self._tell(mode=mode, steps=steps)
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def measure(name: str, work: Workload, variants: Sequence[str], cores: int) -> dict[str, Any]:
    """{variant: facts, and for each mode 'times' of one step per round, 'compile' in seconds, 'peak_mb'}."""
    children: dict[str, Child] = {}
    try:
        for variant in variants:
            children[variant] = Child(name, work, variant, cores)
        results = {variant: child.answer() for variant, child in children.items()}
        for variant, number in itertools.product(variants, ("params", "macs")):
            here, there = results[variant][number], results[variants[0]][number]
            if here != there:
                raise script.Failed(f"{name}: {variant} has {here:,} {number}, {variants[0]} has {there:,}")
        steps = {}
        for mode, (variant, child) in itertools.product(MODES, children.items()):
            first, second, third = (child.run(mode, 1) for _ in range(3))
            usual = min(second["seconds"], third["seconds"])
            compiling = max(first["seconds"] - usual, 0.0)
            results[variant][mode] = {"compile": compiling, "peak_mb": third["peak_mb"], "times": []}
            steps[variant, mode] = 1 if QUICK.value else max(1, round(SECONDS.value / usual))
        for turn in range(ROUNDS.value):
            start = turn % len(variants)
            for variant, mode in itertools.product((*variants[start:], *variants[:start]), MODES):
                child, count = children[variant], steps[variant, mode]
                child.run(mode, WARM_UP)
                results[variant][mode]["times"].append(child.run(mode, count)["seconds"] / count)
        return results
    finally:
        for child in children.values():
            child.close()


def main() -> None:
    for given, known in ((ONLY.value, WORKLOADS), (VARIANTS.value, COLOURS)):
        if unknown := set(given) - set(known):
            raise cli.UsageError(f"no {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    variants = VARIANTS.value
    if importlib.util.find_spec("torch") is None:
        variants = [v for v in variants if not v.startswith(TORCH)]
        print("PyTorch is not installed: its columns are left out")
    if not variants:
        raise ValueError("nothing to time: --variants=project needs no PyTorch")
    folder, cores = written(OUT.value), usable_cores()
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "command": " ".join(["python", "experiments/benchmarks/step.py", *sys.argv[1:]]),
        "machine": _processor(),
        "cores": cores,
        "versions": [],
        "rounds": ROUNDS.value,
        "product": _product(),
        "workloads": {},
    }
    for name in ONLY.value:
        work = WORKLOADS[name].tiny() if QUICK.value else WORKLOADS[name]
        chosen = [v for v in variants if not v.startswith("channels_last") or len(work.shape) == 3]
        if not chosen:
            continue
        results = measure(name, work, chosen, cores)
        record["workloads"][name] = {"label": work.label(), "batch": work.batch, "variants": results}
        record["versions"] = sorted({*record["versions"], *(facts["version"] for facts in results.values())})
        (folder / "step.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (folder / "step.md").write_text(table(record), encoding="utf-8")
        chart(record, folder / "step.png")
        for mode, heading in HEADINGS.items():
            times = ", ".join(f"{v} {1000 * median(facts, mode):.1f}" for v, facts in results.items())
            print(f"{work.label()}, {heading.lower()}, ms: {times}", flush=True)
    print(folder / "step.md")


def _product() -> int:
    return 64 if QUICK.value else 2048


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    script.run(main, keep_programs=False)
