"""JPEG files to training batches: images a second and memory of this project, a PyTorch DataLoader, and grain.

Command: python experiments/benchmarks/input.py
Time: about 3 minutes on two CPU cores, which nothing else may use

Each image is decoded, a random box of it (a share of .08 to 1 of its area, 3/4 to 4/3 as wide as high) is brought to
224 x 224 by an antialiased bilinear filter, and half of them are mirrored; batches are shuffled. `floats` are float32,
scaled, minus the mean and over the standard deviation of the channels; `bytes` are uint8. All that is included until a
batch is there, but that `bytes` of this project are not mirrored: its training step does so, on floats.

  project         the source `folder` read as `train` reads it, and put on the device; `floats` are mirrored and
                  normalised there, on the same cores, by one compiled function; no decoded picture is kept, as it is
                  with sets that decoded take more than 2 GiB
  project_held    as `train` does with such a small set: what was decoded once is kept, so that after the first epoch
                  only the random boxes are left to do
  torch           DataLoader, a worker process for each core, Pillow, torchvision's transforms (the same written with
                  Pillow where there is no torchvision)
  grain_workers   grain, a worker process for each core, Pillow and NumPy
  grain_threads   grain, its threads as it chooses them, the same transforms

What is not installed is left out, and said. The sides are processes of their own and take turns: in each round every
side makes some batches that do not count, by when what it had read ahead is used up, and then some that are timed; the
median over rounds counts, and the median of the rounds' ratios. Memory is the proportional share (PSS) of a side's
processes together, the most of samples that are taken during one further round, which is not timed.

The photographs are written once: parts of those that scikit-learn and Matplotlib ship, mirrored and recoloured, of
about 500 x 375 pixels and 53 kB.
"""

import functools
import importlib.util
import platform
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from turns import Call, beside

from cnn_jax.devices import ask_for_huge_pages, cores
from cnn_jax.launch import cli, script
from cnn_jax.paths import written

NEEDS = {"torch": "torch", "grain_workers": "grain", "grain_threads": "grain"}  # the package of a side
SIDES = ("project", "project_held", *NEEDS)
KINDS = ("floats", "bytes")
WIDE, TALL = 500, 375  # pixels of a photograph, about
CLASSES = 10

FOLDER = flags.DEFINE_string("folder", "runs/photographs", "where the photographs are, or are written to")
COUNT = flags.DEFINE_integer("count", 2000, "how many photographs", lower_bound=CLASSES)
BATCH = flags.DEFINE_integer("batch", 128, "images of a batch", lower_bound=1)
SIZE = flags.DEFINE_integer("size", 224, "side of an image in a batch", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 5, "how often each side is timed", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 24, "batches that are timed in a round", lower_bound=1)
WARM_UP = flags.DEFINE_integer("warm_up", 8, "batches before them that are not", lower_bound=1)
ONLY = flags.DEFINE_list("sides", list(SIDES), f"which: {', '.join(SIDES)}")
WHAT = flags.DEFINE_list("kinds", list(KINDS), f"which batches: {', '.join(KINDS)}")


def main() -> None:
    for given, known in ((ONLY.value, SIDES), (WHAT.value, KINDS)):
        if unknown := set(given) - set(known):
            raise cli.UsageError(f"no {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    sides = [side for side in ONLY.value if side not in NEEDS or importlib.util.find_spec(NEEDS[side])]
    for package in sorted({NEEDS[side] for side in ONLY.value if side not in sides}):
        print(f"{package} is not installed: it is left out")
    folder = photographs(written(FOLDER.value), COUNT.value)
    print(f"{COUNT.value:,} photographs, batches of {BATCH.value} x {SIZE.value} x {SIZE.value}, {cores()} cores")
    for kind in WHAT.value:
        print(compared(kind, sides, folder), flush=True)


def compared(kind: str, sides: list[str], folder: Path) -> str:
    """The table of one kind of batches. Raises Failed where a side has stopped."""
    facts, calls = {}, {}
    for side in sides:
        job = {"side": side, "floats": kind == "floats", "folder": str(folder)}
        job |= {"batch": BATCH.value, "size": SIZE.value}
        facts[side], asked = beside("input_torch.py" if side == "torch" else "input_sides.py", job)
        calls[side] = functools.partial(_rate, asked("batches", WARM_UP.value), asked("batches", STEPS.value))
        facts[side]["first"] = _memory_during(facts[side]["pid"], asked("batches", WARM_UP.value))
    rounds = [{side: call() for side, call in calls.items()} for _ in range(ROUNDS.value)]
    lines = [
        f"{kind:14} {'images/s':>9} {'least':>7} {'most':>7} {sides[0] + ' / it':>13} {'memory, MB':>11} "
        f"{'in round 1':>11} {'at rest':>8}"
    ]
    for side in sides:
        rates = [one[side] for one in rounds]
        ratio = statistics.median(one[sides[0]] / one[side] for one in rounds)
        last = _memory_during(facts[side]["pid"], calls[side])
        lines.append(
            f"{side:14} {statistics.median(rates):9.0f} {min(rates):7.0f} {max(rates):7.0f} {ratio:13.2f} {last:11.0f} "
            f"{facts[side]['first']:11.0f} {facts[side]['rest']:8.0f}  {facts[side]['version']}"
        )
    return "\n".join(lines)


def _rate(warm_up: Call, timed: Call) -> float:
    """Images a second."""
    warm_up()
    return BATCH.value / timed()


def _memory_during(pid: int, call: Call) -> float:
    """The most MB that a process and those below it held at a time during a call, each page once."""
    done, most = threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], megabytes(pid))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    call()
    done.set()
    watching.join()
    return max(most[0], megabytes(pid))


def megabytes(pid: int) -> float:
    """The memory of a process and those below it; of pages that several have, each has its part."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(megabytes(int(one)) for one in (task / "children").read_text(encoding="utf-8").split())
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        if platform.system() != "Linux":
            raise ValueError("this benchmark reads /proc/PID/smaps_rollup, which only Linux has") from None
    return total


def photographs(folder: Path, count: int) -> Path:
    """A folder of `count` JPEG files in class folders, which is written where it is not there."""
    if folder.is_dir():
        if (found := sum(1 for _ in folder.rglob("*.jpg"))) != count:
            raise ValueError(f"{folder} holds {found} photographs, not {count}: name another by --folder, or delete it")
        return folder
    from matplotlib.cbook import get_sample_data
    from PIL import Image
    from sklearn.datasets import load_sample_images

    print(f"writing {count:,} photographs to {folder}", flush=True)
    with get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(file).convert("RGB")
    originals = [*map(Image.fromarray, load_sample_images().images), portrait]
    half = folder.with_name(f"{folder.name}.half")
    for number in range(CLASSES):
        (half / f"class{number}").mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        picture = _varied(originals[number % len(originals)], np.random.default_rng(number))
        picture.save(half / f"class{number % CLASSES}" / f"{number:05}.jpg", quality=90)

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(write, range(count)))
    return half.rename(folder)


def _varied(picture: Any, draw: np.random.Generator) -> Any:
    """A part of a picture, brought to about WIDE x TALL, mirrored or not, with other colours."""
    from PIL import Image

    wide, tall = (round(side * draw.uniform(0.9, 1.1)) for side in (WIDE, TALL))
    share = min(picture.width / wide, picture.height / tall) * draw.uniform(0.7, 1)
    left, top = draw.uniform(0, picture.width - share * wide), draw.uniform(0, picture.height - share * tall)
    box = (left, top, left + share * wide, top + share * tall)
    made = picture.resize((wide, tall), Image.Resampling.BICUBIC, box=box)
    if draw.random() < 0.5:
        made = made.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    levels = [255 * (np.arange(256) / 255) ** gamma for gamma in draw.uniform(0.7, 1.4, 3)]
    return made.point(np.concatenate(levels).round().astype(int).tolist())


if __name__ == "__main__":
    ask_for_huge_pages()
    script.run(main)
