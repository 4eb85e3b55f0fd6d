"""The folder of a sweep, which is all that there is of it: no server and no database knows more.

sweep.json            what is swept, how, over which seeds; written before the first run
experiment.py         the experiment's file, as it was when the sweep began: all runs are of it
runs/NAME/            a configuration: trial.json says its number and its values
runs/NAME/seedN/      a run folder
runs/NAME/seedN.log   what that training printed
runs/NAME/seedN.failed.json   how it failed, until it is started again
runs/NAME/seedN.lock  held by the process that trains, and by none that has ended
final.json, final/    the best configuration on the test split, by --final
optuna.journal        with --method=tpe, for Optuna's dashboard: made from the run folders
"""

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.launch import cli, fields
from cnn_jax.report import log
from cnn_jax.sweep import halving, space
from cnn_jax.sweep.space import Axis, Values
from cnn_jax.train import patience, run_folder
from cnn_jax.train.steps import in_steps

SWEEP, RUNS, TRIAL, FAILED, LOG, LOCK = "sweep.json", "runs", "trial.json", "failed.json", "log", "lock"
GRID, RANDOM, TPE = METHODS = ("grid", "random", "tpe")
VALIDATION = "validation"
DIVERGED = 3  # the exit code of a run that would do so again


class Sweep(NamedTuple):
    """What sweep.json says.

    name: of the experiment. digest: SHA-256 of its file. fixed, space: {field: text} of those that are given one value,
    and of those that are swept. trials: how many configurations, 0 for a grid. rungs: durations after which some
    configurations go on, one of `eta`; () where all are trained to the end.
    """

    name: str
    digest: str
    fixed: dict[str, str]
    space: dict[str, str]
    method: str
    trials: int
    seeds: tuple[int, ...]
    rungs: tuple[str, ...]
    eta: int

    @property
    def axes(self) -> dict[str, Axis]:
        """What each field that is swept may be."""
        return {name: space.axis(name, text) for name, text in self.space.items()}


class Trial(NamedTuple):
    """A configuration that is tried: its number, from 0, and its values of the fields that are swept."""

    number: int
    values: Values

    @property
    def name(self) -> str:
        """That of its folder."""
        return space.name_of(self.values)


class Standing(NamedTuple):
    """How far a run is.

    scores: by validation, higher is better, at each rung that it has come to; the last rung is the whole training.
    step: the last that was validated. seconds: in all, where it is finished. failed: how it ended, where it failed.
    code: the exit code with that. criterion: what the scores are of, None where none is known.
    """

    scores: tuple[float, ...] = ()
    step: int = 0
    seconds: float = 0.0
    failed: str = ""
    code: int = 0
    criterion: patience.Criterion | None = None


def digest_of(path: Path) -> str:
    """SHA-256 of an experiment's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_sweep(folder: Path) -> bool:
    """Whether there is a sweep in a folder."""
    return (folder / SWEEP).is_file()


def read(folder: Path) -> Sweep:
    """The sweep in a folder. Raises ValueError where sweep.json is damaged."""
    values = run_folder.read_json(folder / SWEEP)
    try:
        found = Sweep(**values)
        found = found._replace(seeds=tuple(found.seeds), rungs=tuple(found.rungs))
        assert all(isinstance(seed, int) for seed in found.seeds) and found.method in METHODS
        assert all(isinstance(text, str) for text in (*found.fixed.values(), *found.space.values(), *found.rungs))
    except (TypeError, AttributeError, AssertionError):
        raise ValueError(f"'{folder / SWEEP}' is damaged: it describes no sweep") from None
    return found


def merged(folder: Path, wanted: Sweep, path: Path) -> Sweep:
    """The sweep `wanted` of the experiment in `path`, as it goes on in `folder`: more trials and more seeds may be.

    Raises ValueError for a folder of anything else, with what differs.
    """
    if not is_sweep(folder):
        begun = {run_folder.SOURCE, f"{run_folder.SOURCE}.tmp", f"{SWEEP}.tmp"}  # by a start that was killed
        if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - begun):
            raise ValueError(f"'{folder}' is no folder of a sweep, and not empty: choose another --workdir")
        return wanted
    before = read(folder)
    if before.name != wanted.name:
        raise ValueError(
            f"'{folder}' holds a sweep of the experiment '{before.name}', not of '{wanted.name}': choose another "
            "--workdir"
        )
    if before.digest != wanted.digest:
        raise ValueError(
            f"'{path}' is not what it was when the sweep in '{folder}' began: launch.py sweep {folder} goes on with it "
            "as it was, another --workdir begins anew"
        )
    trials, seeds = max(before.trials, wanted.trials), tuple(dict.fromkeys((*before.seeds, *wanted.seeds)))
    same = before._replace(trials=wanted.trials, seeds=wanted.seeds)
    then, now = _shown(same), _shown(wanted)
    missing = dict.fromkeys({**then, **now}, "not given")
    if lines := configuration.differences({**missing, **then}, {**missing, **now}):
        raise ValueError(
            f"'{folder}' holds another sweep ({'; '.join(lines)}): launch.py sweep {folder} goes on with it, another "
            "--workdir begins anew"
        )
    return wanted._replace(trials=trials, seeds=seeds)


def _shown(sweep: Sweep) -> dict[str, Any]:
    """What sets sweeps apart, by the words of the command line."""
    given = {f"--config.{name}": text for name, text in {**sweep.fixed, **sweep.space}.items()}
    return {**given, "--method": sweep.method, "--rungs": ",".join(sweep.rungs), "--eta": sweep.eta}


def write(folder: Path, sweep: Sweep, experiment: Path) -> None:
    """Writes what the sweep is, and at its beginning the experiment's file."""
    folder.mkdir(parents=True, exist_ok=True)
    if not is_sweep(folder):
        fresh = folder / f"{run_folder.SOURCE}.tmp"
        shutil.copyfile(experiment, fresh)
        fresh.replace(folder / run_folder.SOURCE)
    run_folder.write_json(folder / SWEEP, sweep._asdict())


def configured(config: Experiment, sweep: Sweep) -> Experiment:
    """The experiment with the values that all runs of the sweep share."""
    values = {name: fields.value_of(name, text) for name, text in sweep.fixed.items()}
    return configuration.changed(config, {**values, "evaluate.test": "never"})


def trials(folder: Path, sweep: Sweep) -> list[Trial]:
    """The configurations that are known: all of a grid or by chance; of TPE those that it has proposed so far."""
    if sweep.method == GRID:
        return [Trial(number, values) for number, values in enumerate(space.grid(sweep.axes))]
    if sweep.method == RANDOM:
        return [Trial(number, values) for number, values in enumerate(space.drawn(sweep.axes, sweep.trials))]
    found = []
    for path in folder.glob(f"{RUNS}/*/{TRIAL}"):
        kept = run_folder.read_json(path)
        if not isinstance(kept.get("number"), int) or kept.get("values", {}).keys() != sweep.space.keys():
            raise ValueError(f"'{path}' is damaged: it is no configuration of this sweep")
        found.append(Trial(kept["number"], {name: kept["values"][name] for name in sweep.space}))
    return sorted(found, key=lambda trial: trial.number)


def check(config: Experiment, sweep: Sweep, found: Sequence[Trial]) -> None:
    """Raises ValueError for the first configuration that makes no sense, and for rungs that leave none to the end."""
    for one in [configuration.changed(config, trial.values) for trial in found] or [config]:
        configuration.check(one)
        if not one.data.validation:
            raise cli.UsageError("a sweep chooses by the validation split: keep one, as --config.data.validation=0.1")
        if sweep.rungs and float(configuration.DURATION.match(one.evaluate.every)[1]) == 0:  # type: ignore[index]
            raise cli.UsageError("--rungs need validations on the way: say how often, as --config.evaluate.every=5%")
    count = sweep.trials or len(found)
    if sweep.rungs and count < (needed := halving.needed(len(sweep.rungs), sweep.eta)):
        raise cli.UsageError(
            f"of {count} configurations none would be trained to the end past {len(sweep.rungs)} rungs, at each of "
            f"which one of {sweep.eta} goes on: try {needed} or more, or fewer rungs"
        )


def run_of(folder: Path, trial: Trial, seed: int) -> Path:
    """The run folder of a configuration and a seed."""
    return folder / RUNS / trial.name / f"seed{seed}"


def beside(run: Path, end: str) -> Path:
    """The file beside a run folder, as seed0.log."""
    return run.with_name(f"{run.name}.{end}")


def standing(run: Path, sweep: Sweep) -> Standing:
    """How far the run in a folder is, by what the folder holds; of a damaged one, which `train` mends or refuses, 0."""
    try:
        if (now := _standing(run, sweep)).seconds:
            return now
    except (LookupError, TypeError, AttributeError, ValueError):
        now = Standing()
    try:
        failed = run_folder.read_json(beside(run, FAILED))
        return now._replace(failed=str(failed["line"]), code=int(failed["code"]))
    except (OSError, LookupError, TypeError, ValueError):
        return now


def _standing(run: Path, sweep: Sweep) -> Standing:
    results = run_folder.read_json(run / run_folder.RESULTS) if (run / run_folder.RESULTS).is_file() else None
    if not (run / run_folder.CONFIG).is_file():
        return Standing()
    config = run_folder.read_json(run / run_folder.CONFIG)
    rows = log.read(run) if (run / log.FILE).is_file() else []
    rows = [row for row in rows if row["split"] == VALIDATION]
    if results is not None:
        chosen = patience.criterion(config["evaluate"]["best_by"], results["headline"])
        score = finite(chosen.of({name: math.nan if v is None else v for name, v in results[VALIDATION].items()}))
        # A run that was shorter than a rung, or was not validated there, has the score of its end.
        rungs = [*_at_rungs(run, sweep, config, rows, chosen), *[score] * len(sweep.rungs)][: len(sweep.rungs)]
        return Standing((*rungs, score), results["steps"], results["seconds"]["total"], criterion=chosen)
    kept = run_folder.newest_about(run).get(patience.CRITERION) if sweep.rungs and rows else None
    known = patience.Criterion(*kept) if kept else None
    rungs = _at_rungs(run, sweep, config, rows, known) if known else []
    return Standing(tuple(rungs), rows[-1]["step"] if rows else 0, criterion=known)


def _at_rungs(
    run: Path,
    sweep: Sweep,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    chosen: patience.Criterion,
) -> list[float]:
    """The score of the first validation at each rung or after it, as far as the run has come."""
    found = list[float]()
    if not sweep.rungs:
        return found
    examples, size = run_folder.read_json(run / run_folder.DATA)["examples"], config["data"]["batch_size"]
    total = in_steps(config["duration"], examples=examples, batch_size=size)
    for rung in sweep.rungs:
        step = in_steps(rung, examples=examples, batch_size=size, total=total)
        at = next((row for row in rows if row["step"] >= step), None)
        if at is None:
            break
        found.append(finite(chosen.of(at)))
    return found


def finite(score: float) -> float:
    """A score, or -inf in place of what is none."""
    return score if math.isfinite(score) else -math.inf
