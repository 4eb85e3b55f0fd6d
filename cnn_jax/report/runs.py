"""Finished runs as their folders describe them: read as JSON, and nothing that they name is looked up or run."""

import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.evals import seeds
from cnn_jax.evals.evaluator import Score
from cnn_jax.paths import printable
from cnn_jax.report import log
from cnn_jax.train import earlier, run_folder

DEEPEST = 3  # folders below the one that is named, in which runs are looked for
TEST, VALIDATION, INTERVALS = "test", "validation", "interval95"
LAST_STEP = "last step"
MISSING, VERSION = "–", "version of "
FREE = ("seed", "name")  # fields of a configuration that may differ within a group
OF_THE_LOG = ("step", "epoch", "time")  # what a row has beside its scores


class Run(NamedTuple):
    """A finished run.

    config: as JSON, with the defaults of fields that its version did not have. data, versions, results: the files.
    split: that of the final scores. headline: the score by which its task chooses, higher is better.
    scores: {split or further evaluation: {name: Score}}. rows: of its log.
    """

    folder: Path
    config: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, Any]
    results: dict[str, Any]
    split: str
    headline: str
    scores: dict[str, dict[str, Score]]
    rows: list[dict[str, Any]]

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def fingerprint(self) -> str:
        return self.data["fingerprint"]

    @property
    def step(self) -> int:
        """The one that is scored: the last, or with patience the best by validation."""
        return self.results.get("step", self.results["steps"])


class Group(NamedTuple):
    """Runs that differ in nothing but their seeds, and what they are called together."""

    label: str
    runs: tuple[Run, ...]

    def values(self, split: str, name: str) -> list[float]:
        """A score of each of the runs that have it."""
        found = (run.scores.get(split, {}).get(name) for run in self.runs)
        return [score.value for score in found if score is not None and math.isfinite(score.value)]

    def score(self, split: str, name: str) -> Score | None:
        """The mean over the runs that have it, with its 95 % interval over seeds; None where none has.

        Of a single run it is its own, with the interval over examples.
        """
        values = self.values(split, name)
        if not values:
            return None
        return self.runs[0].scores[split][name] if len(self.runs) == 1 else seeds.mean(values)


def find(folder: Path) -> list[Path]:
    """The run folder itself, or those below it, in order. Raises ValueError or FileNotFoundError where none is."""
    if _is_run(folder):
        return [folder]
    if (folder / run_folder.PREDICTOR).is_file():
        raise ValueError(f"'{folder}' holds imported weights, which have no training: launch.py eval scores them")
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder '{folder}'")
    if not folder.is_dir():
        raise ValueError(f"'{folder}' is a file: name a run folder, or one that holds some")
    found = list(_below(folder, DEEPEST))
    if not found:
        raise ValueError(f"'{folder}' is no run folder and holds none")
    return found


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (run_folder.CONFIG, run_folder.RESULTS, run_folder.CHECKPOINTS))


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        if _is_run(path):
            yield path
        elif depth > 1:
            yield from _below(path, depth - 1)


def read(folder: Path) -> Run:
    """The finished run in `folder`. Raises ValueError, in one line, for one not finished, diverged or damaged."""
    if not (folder / run_folder.CONFIG).exists():
        raise ValueError(f"'{folder}' has no {run_folder.CONFIG}: it was stopped before it began, or is damaged")
    rows = _rows(folder)
    if not (folder / run_folder.RESULTS).exists():
        raise ValueError(f"'{folder}' {_unfinished(rows)}")
    names = (run_folder.CONFIG, run_folder.DATA, run_folder.VERSIONS, run_folder.RESULTS)
    config, data, versions, results = (run_folder.read_json(folder / name) for name in names)
    if not any(results.get(split, TEST) for split in (TEST, VALIDATION)):  # which a whole one says of both
        raise ValueError(
            f"'{folder}' is scored on no split (data.validation = 0, and no test split or evaluate.test = never)"
        )
    try:
        config, data = earlier.upgraded(config, data, folder)
        run = Run(folder, config, data, versions, results, *_scored(results), rows)
        _check(run)
        score = run.scores[run.split][run.headline].value
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"'{folder}' is damaged: {error}") from None
    if not math.isfinite(score):
        headline, loss = printable(run.headline), run.scores[run.split].get("loss")
        if run.headline != "loss" and loss is not None and math.isfinite(loss.value):
            raise ValueError(f"'{folder}' has no {headline}: nothing in its {run.split} split is what that is about")
        raise ValueError(f"'{folder}' has diverged: its {headline} is no finite number")
    return run


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        return log.read(folder)
    except (ValueError, FileNotFoundError) as error:
        warnings.warn(f"no curves of '{folder}': {error}", stacklevel=2)
        return []


def _unfinished(rows: Sequence[Mapping[str, Any]]) -> str:
    trained = [row for row in rows if row["split"] == "train"]
    if not trained:
        return "is not finished (nothing is logged yet): launch.py train begins it"
    if not math.isfinite(trained[-1].get("loss", math.nan)):
        return f"has diverged, by step {trained[-1]['step']}: launch.py train says more"
    return f"is not finished (step {trained[-1]['step']} is the last in its log): launch.py train goes on with it"


def _scored(results: Mapping[str, Any]) -> tuple[str, str, dict[str, dict[str, Score]]]:
    """The split of the final scores, the headline, and all scores."""
    splits = {TEST: results[TEST], VALIDATION: results[VALIDATION], **results.get("also", {})}
    scores = {name: _scores(values) for name, values in splits.items() if values}
    split = TEST if TEST in scores else VALIDATION
    # Versions up to 0.2 did not write the headline: it was the first score with an interval.
    first = next((name for name, score in scores[split].items() if score.low is not None), "loss")
    return split, results.get("headline", first), scores


def _scores(values: Mapping[str, Any]) -> dict[str, Score]:
    found, intervals = {}, values.get(INTERVALS, {})
    for name, value in values.items():
        if name not in (*OF_THE_LOG, INTERVALS) and (value is None or isinstance(value, int | float)):
            low, high = [float(bound) for bound in intervals.get(name, ())] or (None, None)
            found[name] = Score(math.nan if value is None else float(value), low, high)
    return found


def _check(run: Run) -> None:
    """Raises an error for what would fail when it is printed or drawn."""
    texts = (run.fingerprint, run.data["name"], run.results["devices"], run.headline)
    seconds = run.results["seconds"]
    numbers = (run.step, run.results["steps"], run.results["parameters"], seconds["total"])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is no text")
    if not isinstance(run.seed, int) or not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("a number is none")
    if run.results["seed"] != run.seed:
        raise ValueError("its results are those of another seed")


def grouped(runs: Sequence[Run]) -> tuple[list[Group], list[str]]:
    """The runs by configuration and data, in the order of their first; and a line for each that repeats another.

    Where two have the same seed, too, the runs are taken apart by their versions, and then by their scores.
    """
    labels = dict(zip((run.folder for run in runs), _labels([run.folder for run in runs]), strict=True))
    parts = _by(runs, _settings)
    for key in (_versions, _results):
        parts = [part for members in parts for part in ([members] if _once(members) else _by(members, key))]
    groups, repeated = list[Group](), list[str]()
    for members in parts:
        kept: dict[int, Run] = {}
        for run in members:
            if first := kept.get(run.seed):
                repeated.append(f"'{run.folder}' is left out: it repeats '{first.folder}', with the same scores")
            else:
                kept[run.seed] = run
        together = _together([labels[run.folder] for run in kept.values()], labels.values())
        if len(parts) == 1 < len(kept):  # all that there is
            together = printable(os.path.basename(os.path.commonpath(map(os.path.abspath, labels))))
        groups.append(Group(together, tuple(kept.values())))
    return groups, repeated


def _once(runs: Sequence[Run]) -> bool:
    """Whether no two have the same seed."""
    return len({run.seed for run in runs}) == len(runs)


def _by(runs: Iterable[Run], key: Callable[[Run], str]) -> list[list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return list(found.values())


def _settings(run: Run) -> str:
    config = {name: value for name, value in run.config.items() if name not in FREE}
    return json.dumps([config, run.fingerprint], sort_keys=True)


def _versions(run: Run) -> str:
    return json.dumps(run.versions, sort_keys=True)


def _results(run: Run) -> str:
    return json.dumps(run.scores, sort_keys=True)


def _labels(folders: Sequence[Path]) -> list[str]:
    """Of each path the end in which they differ."""
    whole = [os.path.abspath(folder) for folder in folders]
    common = os.path.dirname(whole[0]) if len(whole) == 1 else os.path.commonpath(whole)
    return [os.path.relpath(path, common) for path in whole]


def _together(labels: Sequence[str], every: Iterable[str]) -> str:
    """What the runs of `labels` are called: the folder that holds them and no other run, or their names."""
    if len(labels) == 1:
        return printable(labels[0])
    folder = os.path.commonpath(labels)
    inside = [label for label in every if label.startswith(f"{folder}{os.sep}")]
    if folder and len(inside) == len(labels):
        return printable(folder)
    return printable(", ".join(labels) if len(labels) < 4 else f"{labels[0]} … {labels[-1]}")


def scored_at(groups: Sequence[Group]) -> str:
    """Which steps the scores are of, in words."""
    runs = [run for group in groups for run in group.runs]
    if all(run.step == run.results["steps"] for run in runs):
        return LAST_STEP
    return "last step, or with evaluate.patience the best by validation, which favours the scores of that split"


def differing(groups: Sequence[Group]) -> dict[str, dict[str, list[str]]]:
    """{what: {value: labels of the groups that have it}}, for all in which the groups' descriptions differ."""
    table: dict[str, dict[str, list[str]]] = {}
    for name, values in varying(groups).items():
        found = table.setdefault(name, {})
        for group, value in zip(groups, values, strict=True):
            found.setdefault(value, []).append(group.label)
    return table


def varying(groups: Sequence[Group]) -> dict[str, list[str]]:
    """{what: its value in each of the groups}, for all in which the groups' descriptions differ."""
    facts = [_facts(group) for group in groups]
    names = dict.fromkeys(name for found in facts for name in found)
    table = {name: [found.get(name, MISSING) for found in facts] for name in names}
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def is_setting(name: str) -> bool:
    """Whether that which differs is a field of the configuration other than the seed, and not what a run met."""
    return name not in ("seed", "data", "devices") and not name.startswith(VERSION)


def _facts(group: Group) -> dict[str, str]:
    """Fields of the configuration, then data, devices and versions, as text: all values that its runs have."""
    found: dict[str, dict[str, None]] = {}
    for run in group.runs:
        config = dict(_flat({name: value for name, value in run.config.items() if name != "name"}))
        data = {"data": f"{run.data['name']}, fingerprint {run.fingerprint[:12]}"}
        versions = {f"{VERSION}{name}": str(value) for name, value in run.versions.items()}
        for name, text in {**config, **data, "devices": run.results["devices"], **versions}.items():
            found.setdefault(name, {})[text] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
