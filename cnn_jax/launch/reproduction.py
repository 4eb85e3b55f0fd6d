"""Rows of the table of reproductions: which there are, their seeds trained, and what came of them beside the paper."""

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.evals import equivalence, seeds
from cnn_jax.launch import experiment_file
from cnn_jax.launch.paper import Reproduction
from cnn_jax.lookup import did_you_mean
from cnn_jax.report import runs
from cnn_jax.report.runs import Run
from cnn_jax.train import run_folder


class Row(NamedTuple):
    """A row of a file. word: what means it on the command line; name: of its function; title: what that says of it."""

    word: str
    path: Path
    name: str
    title: str
    made: Reproduction

    @property
    def cost(self) -> float:
        """Seconds of all its seeds."""
        return self.made.seconds * self.made.seeds


def rows_of(word: str) -> list[Row]:
    """The rows that a word means: FILE.ROW that one, FILE all of the file. Raises ValueError or FileNotFoundError."""
    path = experiment_file.find(word)
    if path is None:
        experiment_file.load(word)  # which says what is wrong, unless
        raise ValueError(f"'{word}' is a run: name the experiment that it came from")
    row = experiment_file.row_of(word)
    if row or (known := experiment_file.rows_in(path)):
        return [_row(path, name) for name in ([row] if row else known)]
    raise ValueError(f"'{path}' states no published score: a function as in cnn_jax/launch/paper.py does")


def every_row() -> tuple[list[Row], list[str]]:
    """All rows of the experiments here and of this project, and a line for each that cannot be read.

    The cheapest come first, those for accelerators last.
    """
    found, lines = list[Row](), list[str]()
    folders = ("", experiment_file.FULL_SCALE)
    for path in [path for folder in folders for path in experiment_file.experiment_files(within=folder)]:
        for name in experiment_file.rows_in(path):
            try:
                found.append(_row(path, name))
            except (ValueError, OSError) as error:
                lines.append(str(error))
    return sorted(found, key=lambda row: (not row.made.here, row.cost)), lines


def _row(path: Path, name: str) -> Row:
    made, title = experiment_file.load_row(path, name)
    if not (made.paper.margin > 0 and made.seconds > 0 and made.seeds > 1):
        raise ValueError(f"{name}() of '{path}': a margin, seconds and two seeds or more are needed")
    return Row(experiment_file.word_for_row(path, name), path, name, title, made)


class Seed(NamedTuple):
    """A training of a row. done: the finished run that is there already."""

    seed: int
    folder: Path
    config: Experiment
    done: Run | None


def opened(row: Row, out: Path, wanted: Sequence[int] | None) -> list[Seed]:
    """The trainings of a row, in the folders of `train --seeds`; its file is the one that is loaded then.

    Args:
      row: whose file is run again, as its functions have names only while it is the last that was loaded.
      out: the folder that holds those of experiments.
      wanted: seeds; None for those that the row states and all that are finished.

    Raises ValueError where a folder holds a run of another configuration, or a damaged one.
    """
    made = experiment_file.load_row(row.path, row.name)[0]
    config = made.experiment
    folder = out / config.name
    if wanted is None:
        names = (re.fullmatch(r"seed(\d{1,9})", path.parent.name) for path in folder.glob(f"*/{run_folder.RESULTS}"))
        wanted = sorted({*range(row.made.seeds), *(int(name[1]) for name in names if name)})
    configuration.check(config)
    configs = [configuration.changed(config, {"seed": seed, **made.of_seed(seed)}) for seed in wanted]
    return [_seed(one, folder / f"seed{one.seed}") for one in configs]


def _seed(config: Experiment, folder: Path) -> Seed:
    if not (folder / run_folder.RESULTS).exists():
        return Seed(config.seed, folder, config, None)
    run = runs.read(folder)
    if lines := configuration.differences(run.config, configuration.to_json(config)):
        more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise ValueError(
            f"'{folder}' holds a run with another configuration ({'; '.join(lines[:3])}{more}): move it away, or "
            "choose another --out"
        )
    return Seed(config.seed, folder, config, run)


def outcome(row: Row, found: Iterable[Run], error: str = "") -> dict[str, Any]:
    """What the finished runs of a row say, which all have its score, as JSON; error: why there are not all of them.

    mean, interval95 and verdict are null where there is none. The costs are means over the runs, flops those of all
    steps of one; null where a run does not say.
    """
    done, (experiment, paper, seconds, count, on, _) = list(found), row.made
    values = {str(run.seed): score(run, paper.score) for run in done}
    mean = seeds.mean(list(values.values())) if values else None
    said = equivalence.verdict(list(values.values()), paper.value, paper.margin) if values else None
    return {
        "row": row.word,
        "title": row.title,
        "name": experiment.name,
        "paper": paper._asdict(),
        "expected": {"seconds": seconds, "seeds": count, "on": on},
        "split": _together(run.split for run in done),
        "scores": values,
        "mean": mean and mean.value,
        "interval95": None if mean is None or mean.low is None else [mean.low, mean.high],
        "verdict": said and said.word,
        "verdict_in_words": said and str(said),
        "cost": _costs(done),
        "devices": _together(run.results["devices"] for run in done),
        "versions": _versions(done),
        "folders": [str(run.folder) for run in done],
        "error": error or None,
    }


def score(run: Run, name: str) -> float:
    """A score of the split that a run was scored on. Raises ValueError where it has none, or one that is no number."""
    scores = run.scores[run.split]
    if name not in scores or not math.isfinite(scores[name].value):
        raise ValueError(f"'{run.folder}' has no score '{name}' of the {run.split} split: {did_you_mean(name, scores)}")
    return scores[name].value


def _costs(done: Sequence[Run]) -> dict[str, float | None]:
    def mean(*path: str, times: str = "") -> float | None:
        found = [_number(run.results, *path) for run in done]
        factors = [_number(run.results, times) if times else 1.0 for run in done]
        pairs = [(a, b) for a, b in zip(found, factors, strict=True) if a is not None and b is not None]
        return statistics.fmean(a * b for a, b in pairs) if len(pairs) == len(done) > 0 else None

    return {
        "seconds": mean("seconds", "total"),
        "train_seconds": mean("seconds", "train"),
        "parameters": mean("parameters"),
        "flops": mean("cost", "step_flops", times="steps"),
        "memory": mean("cost", "memory"),
        "joules": mean("cost", "joules"),
    }


def _number(values: Any, *path: str) -> float | None:
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return float(values) if isinstance(values, int | float) and math.isfinite(values) else None


def _versions(done: Sequence[Run]) -> dict[str, str]:
    names = dict.fromkeys(name for run in done for name in run.versions)
    return {name: _together(str(run.versions.get(name, runs.MISSING)) for run in done) for name in names}


def _together(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))
