"""The run folder: everything that describes a run, so that each command after `train` needs only its path.

config.json         the resolved configuration
experiment.py       the experiment's source, if it came from a file
versions.json       of Python, the packages and the project's git revision
changes-DIGEST.patch  what was not committed of the project, if anything: versions.json names it
data.json           description and fingerprint of the data, and what was left out, changed or guessed (notes)
skipped.json        which examples could not be decoded, if there are any
labels.json         which training examples were used, of those that the split has, where not all were
weights.json        where the first weights came from, where they were not drawn
metrics.jsonl       the log; tensorboard/ holds the same as events
checkpoints/        the states
results.json        the final scores; of a run that was made longer those of before as results-stepN.json
tables/             per class, per pair of classes, ...: what is no single number, as .npz
outputs/            what the model said of each example of the test split, with `evaluate.outputs`
figures/            pictures of all that
profile/            what a profiler saw of a few steps, with --profile

A folder of imported weights has predictor.json (model and task), data.json and variables.safetensors instead.
"""

import errno
import importlib.metadata
import json
import os
import platform
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from cnn_jax import config as configuration
from cnn_jax.data.source import Splits, moved
from cnn_jax.data.spec import Spec, to_json
from cnn_jax.evals.evaluator import Scores
from cnn_jax.train import checkpoint, earlier, revision

PACKAGES = ("cnn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")
CONFIG, SOURCE, DATA, VERSIONS, RESULTS = "config.json", "experiment.py", "data.json", "versions.json", "results.json"
LABELS, WEIGHTS, SKIPPED = "labels.json", "weights.json", "skipped.json"
SUMMARY = "summary.json"  # of several seeds, beside their run folders
CHECKPOINTS, FIGURES, TABLES, OUTPUTS, LOCK = "checkpoints", "figures", "tables", "outputs", ".lock"
PLACE = ("compute.devices:", "compute.parallel:")  # differences in where a run computes, not in what
PROFILE = "profile"
LOG, FOLDERS = "metrics.jsonl", (FIGURES, TABLES, OUTPUTS, PROFILE, "tensorboard")
LARGEST_JSON = 64 * 2**20
OF_DESKTOPS = (".DS_Store", ".directory", ".localized", "Thumbs.db", "desktop.ini")
PREDICTOR, VARIABLES = "predictor.json", "variables.safetensors"


def versions() -> dict[str, str]:
    """Versions of Python, the packages and the project."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "git": str(revision.revision())}


def refuse_other_run(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises ValueError if `folder` holds a run of another configuration, here as JSON, or what is no run.

    Another duration is let through: whether it is a longer one is seen when the data are known. So is where it runs,
    which is warned of.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"'{folder}' is a file: choose another --workdir")
    if _is_empty(folder):
        return
    if not _is_run(folder):
        raise ValueError(f"'{folder}' is not empty and no run folder: choose another --workdir")
    before = configuration_of(folder)
    if before is None:
        return  # it was killed before there was anything to go on from
    now = dict(config)
    if moved(
        str(before["data"].get("source")), now["data"]["source"]
    ):  # whether the data are the same, their fingerprint says
        before = {**before, "data": {**before["data"], "source": now["data"]["source"]}}
    if before["duration"] != now["duration"]:
        before = {**before, "duration": now["duration"], "extend": now["extend"]}
    now["extended"] = now["extended"] or before["extended"]  # who names the experiment need not know of it
    if now["transfer"]["head"] == "auto" and before["transfer"]["head"] == "new":  # which was the default
        now["transfer"] = {**now["transfer"], "head": "new"}
    lines = configuration.differences(before, now)
    elsewhere = [line for line in lines if line.startswith(PLACE)]
    if elsewhere == lines and lines:
        what = f"the run in '{folder}' goes on elsewhere ({'; '.join(lines)})"
        warnings.warn(f"{what}: its numbers stay the same but for rounding", stacklevel=3)
    elif lines:
        raise ValueError(
            f"'{folder}' holds a run with another configuration ({'; '.join(lines)}): "
            "give these values, choose another --workdir, or start anew with --fresh"
        )


def configuration_of(folder: Path) -> dict[str, Any] | None:
    """What the run in `folder` began with, None where there is none.

    It is config.json, or where that is gone or damaged the newest checkpoint's.
    """
    if not folder.is_dir():
        return None
    data = _read(folder / DATA) or {}
    config = _read(folder / CONFIG) or newest_about(folder).get("config")
    if config is None:
        return None
    try:
        return earlier.upgraded(config, data, folder)[0]
    except ValueError as error:
        raise ValueError(f"'{folder / CONFIG}': {error}") from None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError):
        return None


def newest_about(folder: Path) -> dict[str, Any]:
    """What was kept with the newest good checkpoint of a run, {} where there is none."""
    checkpoints = folder / CHECKPOINTS
    step = checkpoint.newest_good(checkpoints)
    return {} if step is None else checkpoint.read_about(checkpoints, step) or {}


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in a folder, or no such folder; what a desktop leaves in each does not count."""
    return not folder.is_dir() or all(path.name in OF_DESKTOPS for path in folder.iterdir())


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONFIG, LOCK, CHECKPOINTS))


def set_aside(folder: Path) -> Path | None:
    """Renames an existing run folder to FOLDER.old-N, so that a new run can begin under its name; returns the new one.

    Raises ValueError if it is no run folder, or another process is training in it.
    """
    if _is_empty(folder):
        return None
    if not _is_run(folder):
        raise ValueError(f"'{folder}' is not empty and no run folder: choose another --workdir")
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    with opened(folder):
        folder.rename(aside)
    print(f"the run that was in {folder} is now in {aside}")
    return aside


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it for this process alone.

    Raises ValueError if it cannot be written, also because of a link, or another process is training in it.
    """
    # What is not written anew and renamed. Checkpoints may lie on another disk, behind a link of the user's own.
    for name in (LOCK, SOURCE, LOG, RESULTS, CHECKPOINTS, *FOLDERS):
        path = folder / name if name == CHECKPOINTS else place(folder, name)
        if path.exists() and path.is_dir() != (name in (CHECKPOINTS, *FOLDERS)):
            kind = "folder" if path.is_dir() else "file"
            raise ValueError(f"'{path}' is a {kind}, which a run cannot use: remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w", encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"cannot write to the run folder '{folder}' ({error.strerror}): choose another --workdir"
        ) from None
    with lock:
        if not held(lock):
            raise ValueError(f"another process is training in '{folder}': wait for it or choose another --workdir")
        yield


def held(lock: IO[str]) -> bool:
    """Takes the file for this process, until it is closed or the process ends; False where another one has it."""
    try:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        what = f"'{lock.name}' cannot be locked ({error.strerror})"  # as on some network disks
        warnings.warn(f"{what}: see to it yourself that no other process trains in this folder", stacklevel=4)
    return True


def describe_run(
    folder: Path, config: Mapping[str, Any], experiment_file: Path | None, spec: Spec, examples: int, splits: Splits
) -> None:
    """Writes what does not change during the run. Raises ValueError if the run began with other data."""
    data = {"examples": examples, **to_json(spec)}
    before = _read(folder / DATA) or {}
    earlier.check_resumable(folder, before, splits)
    fingerprint = before.get("fingerprint") or newest_about(folder).get("data") or spec.fingerprint
    if fingerprint != spec.fingerprint:
        raise ValueError(
            f"the data '{spec.name}' has changed since the run in '{folder}' began: bring the old data back, "
            "or start anew with --fresh"
        )
    for name in (DATA, CONFIG):
        if (folder / name).exists() and not _read(folder / name):
            os.replace(folder / name, folder / f"{name}.bad")
            warnings.warn(f"'{folder / name}' is damaged: renamed to {name}.bad and written anew", stacklevel=3)
    write_json(folder / DATA, data)
    changes = revision.keep_changes(folder)
    write_json(folder / VERSIONS, versions() | ({"changes": changes} if changes else {}))
    if experiment_file and experiment_file.resolve() != (folder / SOURCE).resolve():
        shutil.copyfile(experiment_file, folder / SOURCE)
    write_json(folder / CONFIG, config)  # last: with it the folder is a run folder


def keep_results(folder: Path, step: int) -> None:
    """Renames the results of a run that had ended by `step` to results-stepN.json, as it goes on."""
    steps = (_read(folder / RESULTS) or {}).get("steps")
    if isinstance(steps, int) and 0 < steps <= step:
        os.replace(folder / RESULTS, folder / f"results-step{steps}.json")


def checkpoint_scored(folder: Path) -> str:
    """Which checkpoint the final scores of the run in `folder` are of: 'best' where it has patience, else 'last'.

    As config.json says it, which is only looked into: who trusts it checks it elsewhere.
    """
    evaluate = (_read(folder / CONFIG) or {}).get("evaluate")
    return "best" if isinstance(evaluate, dict) and evaluate.get("patience") else "last"


def checkpoint_step(folder: Path, which: str) -> int:
    """The step of the checkpoint 'last', 'best' or of a number; raises where there is no such good one."""
    if which not in ("last", "best") and not which.isdigit():
        raise ValueError(f"checkpoint={which}: say last, best or a step")
    if which.isdigit():
        step = int(which)
        if not checkpoint.is_good(folder, step):
            raise FileNotFoundError(
                f"there is no good checkpoint of step {step} in '{folder}': there is {checkpoint.steps(folder)}"
            )
        return step
    if which == "best" and not checkpoint.has_scores(folder):
        warnings.warn(f"no checkpoint in '{folder}' was validated: the last one is taken for the best", stacklevel=3)
    found = (checkpoint.newest_good if which == "last" else checkpoint.best)(folder)  # both among the good ones only
    if found is None:
        raise FileNotFoundError(f"there is no good checkpoint in '{folder}': train the run first")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError where it is damaged, or larger than LARGEST_JSON bytes."""
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise ValueError("it is no file")
        if path.is_file() and path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON:,} bytes")
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # no JSON, no text, or nested too deeply
        raise ValueError(f"'{path}' is damaged: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"'{path}' is damaged: it holds no JSON object")
    return value


def place(folder: Path, *names: str) -> Path:
    """The folder FOLDER/NAME/..., for a command to write in.

    Raises ValueError where it or anything in it is a link: in a stranger's run folder it may lead anywhere.
    """
    way = [folder.joinpath(*names[: count + 1]) for count in range(len(names))]
    inside = (Path(root) / name for root, folders, files in os.walk(way[-1]) for name in (*folders, *files))
    for path in (*way, *inside):
        if path.is_symlink():
            raise ValueError(f"'{path}' is a link, through which nothing is written: remove it")
    return way[-1]


def write_tables(path: Path, scores: Scores, spec: Spec) -> None:
    """Writes what is no single number, with the names of the classes, as .npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, classes=np.array(spec.classes), **scores.tables)  # type: ignore[arg-type]


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that a kill at any moment leaves the old file or the new one."""
    checkpoint.write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
