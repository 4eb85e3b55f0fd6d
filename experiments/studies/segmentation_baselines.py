"""What a segmentation has to beat: windows of grey values, Otsu's threshold, and the other half of a head mirrored.

Command: python experiments/studies/segmentation_baselines.py --source=colin27 --runs=runs/brain/seed0,runs/brain/seed1
Time: 10 s on two CPU cores
Needs: what the source needs, as apt-get install mricron-data for colin27

Of two classes, the second is taken to be: the pixels whose grey value is in the window that has the greatest IoU on the
train split; those above the threshold that parts the grey values of the test split best, without a look at its truth
(Otsu 1979). Of colin27, whose test examples are the other halves of those of train, the test split is also taken to be
these mirrored. All are scored on the test split as trained networks are, and --runs of these are printed beside.

Of data with single objects, as nuclei, those are the pixels of any object, and of what is found each connected piece is
one. Grey values are smoothed first, by a Gaussian of one pixel, or noise would make objects of single pixels. On a
second source, --source="nuclei(test='stack')", the scores of runs are those of --scores=stack, see evaluate.also.

Writes baselines.md to --workdir.
"""

import statistics

import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnn_jax.launch import script
from cnn_jax.paths import written

SOURCE = flags.DEFINE_string("source", "colin27", "the data, as --config.data.source= takes it")
RUNS = flags.DEFINE_list("runs", [], "run folders of networks, to be printed beside")
WORKDIR = flags.DEFINE_string("workdir", "runs/segmentation_baselines", "folder of the table")
SCORES = flags.DEFINE_string("scores", "test", "which of runs' scores: of their test split, or of evaluate.also")
SHOWN = ("mean_iou", "foreground_iou", "dice of the foreground's classes")
OF_OBJECTS = ("foreground_iou", "ap50", "ap75", "ap")
LEVELS = 256


def main() -> None:
    from cnn_jax.data.source import made
    from cnn_jax.data.spec import named
    from cnn_jax.lookup import lookup

    splits = made(lookup(SOURCE.value))
    spec = splits["test"].spec
    image, objects = named(spec.inputs, "image"), "instance_map" in [field.role for field in spec.targets.values()]
    truth, shown = named(spec.targets, "instance_map" if objects else "class_map"), OF_OBJECTS if objects else SHOWN
    train, test = (splits[split].batch(np.arange(len(splits[split]))) for split in ("train", "test"))
    scores = scored_objects if objects else scored
    rows: dict[str, list[dict[str, float]]] = {}
    if objects or len(spec.classes) == 2:
        learned, grey = (smoothed(some[image][..., 0]) if objects else some[image][..., 0] for some in (train, test))
        low, high = best_window(learned, train[truth] > 0 if objects else train[truth] == 1)
        rows[f"grey values {low} to {high}"] = [scores(splits["test"], (grey >= low) & (grey <= high))]
        threshold = otsu(grey)
        rows[f"grey values above {threshold} (Otsu)"] = [scores(splits["test"], grey > threshold)]
    if spec.name == "colin27":
        rows["the other half, mirrored"] = [scored(splits["test"], train[truth][..., ::-1])]
    if RUNS.value:
        rows["networks"] = [of_run(run, objects) for run in RUNS.value]
    lines = ["| test split | n | " + " | ".join(shown) + " |", "|---" * (len(shown) + 2) + "|"]
    for name, found in rows.items():
        cells = [_spread([row[figure] for row in found]) for figure in shown]
        lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    folder = written(WORKDIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "baselines.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def best_window(grey: NDArray[np.uint8], inside: NDArray[np.bool_]) -> tuple[int, int]:
    """The first and the last value of the window whose pixels have the greatest IoU with those `inside`."""
    within, without = (np.append(0, np.bincount(grey[mask], minlength=LEVELS).cumsum()) for mask in (inside, ~inside))
    hits, false = within - within[:, None], without - without[:, None]  # of [first, last + 1]
    iou = np.triu(hits / (within[-1] + np.maximum(false, 0)), 1)
    first, end = np.unravel_index(iou.argmax(), iou.shape)
    return int(first), int(end) - 1


def otsu(grey: NDArray[np.uint8]) -> int:
    """The value that parts those up to it from those above with the greatest variance between the two."""
    counts = np.bincount(grey.ravel(), minlength=LEVELS)
    below, sums = counts.cumsum(), (counts * np.arange(LEVELS)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nanargmax(between))


def scored(source, said: NDArray) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The scores of class maps [N, H, W] on a split."""
    from cnn_jax.data.spec import INDEX
    from cnn_jax.evals import segmentation
    from cnn_jax.evals.evaluator import plain

    evaluator, totals = segmentation.evaluator(source.spec), None
    for part in np.array_split(np.arange(len(source)), -(-len(source) // 32)):
        batch = source.batch(part) | {INDEX: part}
        added = evaluator.add(evaluator.start(), {segmentation.OUTPUT: said[part].astype(np.uint8)}, batch)
        totals = added if totals is None else evaluator.merge(totals, added)
    scores = evaluator.finish(totals)
    return _shown(plain(scores), source.spec.classes, scores.tables["dice"])


def smoothed(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, H, W] convolved with a Gaussian of one pixel."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(grey, (0, 1, 1))


def scored_objects(source, said: NDArray[np.bool_]) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The scores on a split of masks [N, H, W], of which each piece that is connected is an object."""
    from scipy.ndimage import label

    from cnn_jax.data.spec import INDEX
    from cnn_jax.evals import instances
    from cnn_jax.evals.evaluator import plain

    evaluator, places = instances.evaluator(source.spec), np.arange(len(source))
    maps, batch = np.stack([label(mask)[0] for mask in said]), source.batch(places) | {INDEX: places}
    return plain(evaluator.finish(evaluator.add(evaluator.start(), {instances.OUTPUT: maps}, batch)))


def of_run(run: str, objects: bool) -> dict[str, float]:
    """Those that a run folder has."""
    from cnn_jax.train import run_folder

    folder = written(run)
    results = run_folder.read_json(folder / run_folder.RESULTS)
    if objects:
        return results["test"] if SCORES.value == "test" else results["also"][SCORES.value]
    with np.load(folder / "tables" / "test.npz") as tables:
        return _shown(results["test"], tables["classes"], tables["dice"])


def _shown(numbers, classes, dice: NDArray) -> dict[str, float]:  # type: ignore[no-untyped-def]
    from cnn_jax.data.spec import BACKGROUND

    foreground = np.array([name != BACKGROUND for name in classes])
    return dict(zip(SHOWN, (*(numbers[name] for name in SHOWN[:2]), float(np.nanmean(dice[foreground]))), strict=True))


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


if __name__ == "__main__":
    script.run(main)
