"""How well `train FOLDER` does on photographs, and how long it takes, beside the linear probe that it begins with.

Command: python experiments/studies/own_pictures.py
Time: 10 min on two CPU cores
Needs: apt-get install tuxpaint-stamps-default, and pip install 'cnn_jax[pretrained]'

The photographs are 282 of Tux Paint's stamps, cut out of their background: birds, fish, flowers, fruit, household
things, insects, mammals, vegetables and vehicles, 11 to 66 of each; a dozen of them are drawings. Three splits keep a
fifth of each class for the test. On each, for each seed, `train FOLDER` runs as a person would call it; and once the
probe alone, which is the same recipe without the steps that follow. The first run finds no compiled program, so its
time is what a newcomer waits. The test split is read by the last evaluation of each run only.

Writes own_pictures.md to the run folder: top-1 on the test split, and seconds of the whole command.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from absl import flags

from cnn_jax.launch import script
from cnn_jax.paths import written

KINDS = {
    "birds": "animals/birds",
    "fish": "animals/fish",
    "flowers": "plants/flowers",
    "fruit": "food/fruit",
    "household": "household",
    "insects": "animals/insects",
    "mammals": "animals/mammals",
    "vegetables": "food/vegetables",
    "vehicles": "vehicles",
}
TEST = 0.2  # of each class
LAUNCH = Path(__file__).parents[2] / "launch.py"

STAMPS = flags.DEFINE_string("stamps", "/usr/share/tuxpaint/stamps", "folder of the package's pictures")
WORKDIR = flags.DEFINE_string("workdir", "runs/own_pictures", "folder of the pictures, runs and table")
SPLITS = flags.DEFINE_integer("splits", 3, "how many test splits are drawn", lower_bound=1)
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of order and augmentation")


def main() -> None:
    folder = written(WORKDIR.value)
    if folder.exists():
        raise ValueError(f"'{folder}' exists: say another --workdir, as the times are those of whole commands")
    probes, recipes, seconds = list[float](), list[float](), list[float]()
    for split in range(SPLITS.value):
        pictures = copy(written(STAMPS.value), folder / f"split{split}", np.random.default_rng(split))
        for seed in SEEDS.value:
            run = folder / "runs" / f"recipe{split}_{seed}"
            began = time.perf_counter()
            recipes.append(train(pictures, run, f"--config.seed={seed}"))
            seconds.append(time.perf_counter() - began)
            print(f"split {split}, seed {seed}: {recipes[-1]:.4f} in {seconds[-1]:.0f} s", flush=True)
        # A step that changes nothing: the rate is as good as none.
        none = ("--config.duration=1 steps", "--config.optim.lr=1e-30", "--config.evaluate.patience=0")
        probes.append(train(pictures, folder / "runs" / f"probe{split}", *none))
        print(f"split {split}, the probe alone: {probes[-1]:.4f}", flush=True)
    table = "\n".join(
        [
            "| | top-1 | n | s |",
            "|---|---|---|---|",
            f"| linear probe | {_spread(probes)} | {len(probes)} | |",
            f"| `train FOLDER` | {_spread(recipes)} | {len(recipes)} | first {seconds[0]:.0f}, then "
            f"{statistics.median(seconds[1:] or seconds):.0f} |",
        ]
    )
    (folder / "own_pictures.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def copy(stamps: Path, into: Path, draw: np.random.Generator) -> Path:
    """Copies the pictures into class folders below train/ and test/, the test a random share of each class."""
    for name, inside in KINDS.items():
        files = sorted((stamps / inside).rglob("*.png"))
        if not files:
            raise FileNotFoundError(f"no pictures in '{stamps / inside}': apt-get install tuxpaint-stamps-default")
        held_out = {*draw.permutation(len(files))[: round(TEST * len(files))].tolist()}
        for number, file in enumerate(files):
            place = into / ("test" if number in held_out else "train") / name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    return into


def train(pictures: Path, run: Path, *more: str) -> float:
    """Calls `train FOLDER` in a process of its own; returns top-1 on the test split."""
    from cnn_jax.train import run_folder

    words = [sys.executable, str(LAUNCH), "train", str(pictures), f"--workdir={run}", *more]
    environment = os.environ | {"CNN_JAX_CACHE": str(run.parent.with_name("compiled").absolute())}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise script.Failed(done.stderr.strip().splitlines()[-1])
    return float(run_folder.read_json(run / run_folder.RESULTS)["test"]["top1"])


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


if __name__ == "__main__":
    script.run(main)
