"""How much of a detector's loss is the class: true boxes of composed scenes, named by a classifier of their crops.

Command: python experiments/studies/true_boxes.py --runs=runs/scenes/seed0,runs/scenes/seed1,runs/scenes/seed2
Time: 10 min on two CPU cores for each seed; about 5 min for three on an H200 that others use, too
Needs: apt-get install dataset-fashion-mnist

The boxes of the scenes are cut out, brought to 28 x 28, and named by the network and recipe of
experiments/fashion_mnist_fast.py, trained on those of the train split. Its probabilities are then scores of the true
boxes of the test split, and are scored as a detector's are: what is missing to 1 is the class alone. --runs are trained
detectors of the same scenes, whose scores are printed beside.

Writes true_boxes.md to --workdir.
"""

import statistics
from pathlib import Path

import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnn_jax.launch import script
from cnn_jax.paths import written

SOURCE = flags.DEFINE_string("source", "scenes", "the scenes, as --config.data.source= takes them")
RUNS = flags.DEFINE_list("runs", [], "run folders of detectors, to be printed beside")
WORKDIR = flags.DEFINE_string("workdir", "runs/true_boxes", "folder of the crops, the runs and the table")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of the classifier")
EPOCHS = flags.DEFINE_integer("epochs", 6, "times that the classifier sees all crops", lower_bound=1)
SIDE = 28  # of a crop, in pixels
SHOWN = ("ap50", "ap")


def main() -> None:
    import cnn_jax
    from cnn_jax.data.source import made
    from cnn_jax.lookup import lookup
    from cnn_jax.train import run_folder

    folder = written(WORKDIR.value)
    splits = made(lookup(SOURCE.value))
    crops = {split: cut_out(splits[split]) for split in ("train", "test")}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "crops.npz"
    arrays = {f"{split}_{kind}": values for split, found in crops.items() for kind, values in found.items()}
    np.savez(file, classes=np.array(splits["test"].spec.classes), **arrays)
    scores: list[dict[str, float]] = []
    for seed in SEEDS.value:
        settings = {"data.source": f"npz:{file}", "duration": f"{EPOCHS.value} epochs", "seed": int(seed)}
        run = cnn_jax.train("fashion_mnist_fast", folder / f"seed{seed}", **settings)
        scores.append(scored(splits["test"], run.folder, crops["test"]["images"]))
        print(f"seed {seed}: " + ", ".join(f"{name} {scores[-1][name]:.4f}" for name in SHOWN), flush=True)
    results = [run_folder.read_json(written(run) / run_folder.RESULTS)["test"] for run in RUNS.value]
    lines = ["| boxes | n | " + " | ".join(SHOWN) + " |", "|---" * (len(SHOWN) + 2) + "|"]
    for name, found in (("true, classes of crops", scores), ("detected", results)):
        if found:
            cells = [_spread([row[figure] for row in found]) for figure in SHOWN]
            lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    (folder / "true_boxes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def cut_out(source) -> dict[str, NDArray]:  # type: ignore[no-untyped-def]
    """The "images" uint8 [N, SIDE, SIDE, C] in the true boxes of a split, and their "labels" [N]."""
    from cnn_jax.data.prepare import ImagePrepare, fit
    from cnn_jax.data.spec import named

    image = next(iter(source.spec.inputs))
    boxes, labels = (named(source.spec.targets, role) for role in ("boxes", "box_labels"))
    batch = source.batch(np.arange(len(source)))
    prepare = ImagePrepare(size=(SIDE, SIDE), resize="letterbox", background=0)
    found = []
    for number, row in zip(*np.nonzero(batch[labels] >= 0), strict=True):
        left, top, right, bottom = batch[boxes][number, row].astype(int)
        found.append(fit(batch[image][number, top:bottom, left:right], prepare)[0])
    return {"images": np.stack(found), "labels": batch[labels][batch[labels] >= 0]}


def scored(source, run: Path, crops: NDArray[np.uint8]) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The scores of true boxes with the probabilities of all classes that a classifier gives their crops [N, ...]."""
    import cnn_jax
    from cnn_jax.data.spec import INDEX, named
    from cnn_jax.evals import detection
    from cnn_jax.evals.evaluator import plain
    from cnn_jax.train.predictor import predict

    predictor = cnn_jax.load(run).predictor
    logits = predict(predictor, {"image": crops}, 512)["logits"].astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    evaluator, classes = detection.evaluator(source.spec), probabilities.shape[1]
    boxes, labels = (named(source.spec.targets, role) for role in ("boxes", "box_labels"))
    totals, start = evaluator.start(), 0
    for number in range(len(source)):
        batch = source.batch(np.array([number])) | {INDEX: np.array([number])}
        true = batch[boxes][batch[labels] >= 0]
        found = probabilities[start : start + len(true)].ravel()
        order = np.argsort(-found, kind="stable")
        outputs = {
            "boxes": np.repeat(true, classes, 0)[order][None],
            "scores": found[order][None],
            "labels": np.tile(np.arange(classes), len(true))[order][None],
        }
        totals = evaluator.add(totals, outputs, batch)
        start += len(true)
    return plain(evaluator.finish(totals))


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


if __name__ == "__main__":
    script.run(main)
