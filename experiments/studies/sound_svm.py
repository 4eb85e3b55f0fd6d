"""What a network of sounds has to beat: a support vector machine on statistics of log-mel spectra, on the same splits.

Command: python experiments/studies/sound_svm.py --source='drums(fold=FOLD, rate=32000, seconds=1.5)' --folds=5
    --runs=runs/drums/foldFOLD
Command: python experiments/studies/sound_svm.py --source=instruments --runs=runs/instruments
    --other="instruments(font='timgm6mb')" --scores=timgm6mb
Time: 5 s a fold on a CPU core
Needs: what the source needs

Of each sound the mean, the deviation and the first fifth of a second of its log-mel spectrum (64 bands, windows of 32
ms), standardised; the kernel is Gaussian, C = 10. FOLD stands for the numbers of the folds. The runs of several seeds
lie in the folders seed0, seed1, ... of --runs. --other is a second set to score on, and --scores what runs call it.

Writes svm.md to --workdir.
"""

import statistics
from typing import Any

import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnn_jax.launch import script
from cnn_jax.paths import written

SOURCE = flags.DEFINE_string("source", "drums(fold=FOLD)", "the data, as --config.data.source= takes it")
FOLDS = flags.DEFINE_integer("folds", 1, "how many there are; 1 = the source has no FOLD", lower_bound=1)
OTHER = flags.DEFINE_string("other", "", "a second set to score on")
RUNS = flags.DEFINE_string("runs", "", "folder of the runs of a fold")
SCORES = flags.DEFINE_string("scores", "", "what runs call the second set, see evaluate.also")
WORKDIR = flags.DEFINE_string("workdir", "runs/sound_svm", "folder of the table")
ATTACK = 0.2  # seconds


def main() -> None:
    rows = []
    for fold in range(1, FOLDS.value + 1):
        machine, test, other = found_by_machine(SOURCE.value.replace("FOLD", str(fold)), OTHER.value)
        runs = of_runs(RUNS.value.replace("FOLD", str(fold))) if RUNS.value else []
        rows.append((f"fold {fold}" if FOLDS.value > 1 else "test", test, [run[0] for run in runs]))
        if other is not None:
            rows.append((OTHER.value, other, [run[1] for run in runs if len(run) > 1]))
        print(f"{rows[-1][0]}: {machine}", flush=True)
    lines = ["| test split | support vectors | networks | difference | n |", "|---|---|---|---|---|"]
    for name, machine, networks in rows:
        lines.append(
            f"| {name} | {machine:.3f} | {_spread(networks)} | {_difference(networks, machine)} | {len(networks)} |"
        )
    if FOLDS.value > 1:
        mean = statistics.mean(row[1] for row in rows)
        seeds = [statistics.mean(each) for each in zip(*(row[2] for row in rows), strict=False)]
        lines.append(f"| mean | {mean:.3f} | {_spread(seeds)} | {_difference(seeds, mean)} | {len(seeds)} |")
        worst = [statistics.mean(row[2]) for row in rows if row[2]]
        lines.append(f"| worst | {min(row[1] for row in rows):.3f} | {f'{min(worst):.3f}' if worst else '–'} | | |")
    folder = written(WORKDIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "svm.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def found_by_machine(source: str, other: str) -> tuple[str, float, float | None]:
    """(what it learned from, its accuracy on the test split, and on the other set)."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from cnn_jax.data.source import made
    from cnn_jax.lookup import lookup

    splits = made(lookup(source))
    machine = make_pipeline(StandardScaler(), SVC(C=10.0))
    x, y = examples(splits["train"])
    machine.fit(x, y)
    second = None
    if other:
        second = float(machine.score(*examples(next(iter(made(lookup(other)).values())))))
    return f"{len(y)} sounds, {x.shape[1]} numbers each", float(machine.score(*examples(splits["test"]))), second


def examples(source: Any) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The numbers [N, D] that stand for the sounds of a split, and their classes [N]."""
    from cnn_jax.data.spec import named

    spec = source.spec
    batch = source.batch(np.arange(len(source)))
    sounds, rate = batch[named(spec.inputs, "signal")][..., 0], spec.prepare.rate
    return np.stack([statistics_of(sound, rate) for sound in sounds]), batch[named(spec.targets, "label")]


def statistics_of(sound: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Mean, deviation and attack of each band; of frames in which the sound has not ended."""
    from cnn_jax.ops.mel import mel_filters, window_of

    size, hop = round(0.032 * rate), round(0.01 * rate)
    parts = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (size // 2, size)), size)[::hop]
    power = np.abs(np.fft.rfft(parts * window_of(size))) ** 2 @ mel_filters(rate, size, 64, 30, rate / 2)
    logs = 10 * np.log10(np.maximum(power, 1e-10))
    ended = int(np.flatnonzero(np.append(True, sound != 0))[-1]) // hop + 1
    first = logs[: max(round(ATTACK * rate / hop), 1)].mean(0)
    return np.concatenate([logs[:ended].mean(0), logs[:ended].std(0), first])


def of_runs(folder: str) -> list[list[float]]:
    """top1 of each seed on the test split, and on the second set."""
    from cnn_jax.train import run_folder

    found = []
    for run in sorted(written(folder).glob("seed*")) or [written(folder)]:
        results = run_folder.read_json(run / run_folder.RESULTS)
        second = [results["also"][SCORES.value]["top1"]] if SCORES.value else []
        found.append([results["test"]["top1"], *second])
    return found


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def _difference(values: list[float], of: float) -> str:
    return f"{statistics.mean(values) - of:+.3f}" if values else "–"


if __name__ == "__main__":
    script.run(main)
