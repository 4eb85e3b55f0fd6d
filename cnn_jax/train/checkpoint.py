"""Checkpoints that can be trusted: Orbax writes them, a digest written last says that they are whole.

Orbax commits a step folder atomically but loads flipped bytes as wrong weights, takes any folder named like a step for
a checkpoint, and may decline to save without an error. So each step N has a file N.sha256 beside its folder, in the
format of the sha256sum program, written when everything else is on disk; what does not match is renamed away.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from cnn_jax.train.state import State

SCORE = "score"
STEP = re.compile(r"0|[1-9][0-9]*")


class CheckpointError(OSError):
    """A checkpoint could not be written."""


class Checkpoints:
    """The checkpoints of one run, for the process that trains it.

    Keeps the latest `keep` and the one with the best score. Saving is asynchronous: `poll` seals what has been written
    in the meantime, `finish` waits for it. Opening renames damaged and stray step folders to bad-N, with a warning.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        # Orbax's threads print a traceback of what they also raise, and what is raised here is one line.
        logging.set_verbosity(logging.FATAL)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _set_bad_aside(folder)
        best = preservation_policy.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
        policy = preservation_policy.AnyPreservationPolicy([preservation_policy.LatestN(keep), best])
        # Without best_fn the manager forgets the scores of what an earlier process saved, and deletes the best.
        options = ocp.CheckpointManagerOptions(preservation_policy=policy, best_fn=_score)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        self._unsealed: int | None = None

    def save(self, step: int, state: State, about: Mapping[str, Any], score: float | None) -> None:
        """Starts to write `state` and the JSON `about`; raises CheckpointError where that or the last save failed."""
        self.finish()
        if jax.default_backend() == "cpu":
            # There the device's memory is the host's: the next, donated, step would write into what is being saved.
            state = jax.tree.map(jnp.copy, state)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave({**about, SCORE: score}))
        try:
            written = self._manager.save(step, args=items, metrics=None if score is None else {SCORE: score})
        except Exception as error:  # from a full disk, OSError or ValueError
            raise self._failed(step, error) from error
        if not written:
            raise self._failed(step, "a later one exists")
        self._unsealed = step

    def poll(self) -> None:
        """Seals the last checkpoint if it has been written by now."""
        if self._unsealed is not None and not self._manager.is_saving_in_progress():
            self.finish()

    def finish(self) -> None:
        """Waits until the last checkpoint is on disk, and seals it."""
        step, self._unsealed = self._unsealed, None
        if step is None:
            return
        try:
            self._manager.wait_until_finished()
            _seal(self.folder, step)
        except Exception as error:  # Orbax raises whatever its writing threads met
            raise self._failed(step, error) from error

    def close(self) -> None:
        """Releases Orbax's threads."""
        self._manager.close()

    def _failed(self, step: int, why: object) -> CheckpointError:
        good = newest_good(self.folder)
        reason = str(why).strip().splitlines()[0] if str(why).strip() else type(why).__name__
        newest = f"the newest good one is of step {good}" if good else "there is no earlier one"
        return CheckpointError(f"the checkpoint of step {step} could not be written ({reason}); {newest}")


def steps(folder: Path) -> list[int]:
    """The steps that have a folder, newest first, good or not."""
    names = (path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()
    return sorted((int(name) for name in names if STEP.fullmatch(name)), reverse=True)


def is_good(folder: Path, step: int) -> bool:
    """Whether the checkpoint of `step` is, byte for byte, what was written."""
    seal = folder / f"{step}.sha256"
    return seal.is_file() and seal.read_text() == _digest(folder, step)


def newest_good(folder: Path) -> int | None:
    """The latest step with a good checkpoint."""
    return next((step for step in steps(folder) if is_good(folder, step)), None)


def best(folder: Path) -> int | None:
    """The step with the best score among the good checkpoints; the latest where no score was recorded."""
    scores = {step: (read_about(folder, step) or {}).get(SCORE) for step in steps(folder) if is_good(folder, step)}
    scored = [(score, step) for step, score in scores.items() if score is not None]
    return max(scored)[1] if scored else max(scores, default=None)


def read_about(folder: Path, step: int) -> dict[str, Any] | None:
    """The JSON saved beside the state of `step`."""
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            return reader.restore((folder / str(step) / "about").absolute())
    except (OSError, ValueError):
        return None


def restore(folder: Path, step: int, target: State) -> State:
    """The state of `step`, into the shapes and shardings of `target`; the number of devices may have changed."""
    with ocp.StandardCheckpointer() as reader:
        return reader.restore((folder / str(step) / "state").absolute(), target)


def restore_variables(folder: Path, step: int) -> Any:
    """The variables that are evaluated at `step`, as NumPy arrays, whatever model and devices they come from."""
    with ocp.StandardCheckpointer() as reader:
        path = (folder / str(step) / "state").absolute()
        here = SingleDeviceSharding(jax.devices()[0])
        target = jax.tree.map(
            lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=here),
            reader.metadata(path).item_metadata,
        )
        state = jax.device_get(reader.restore(path, target))
    return state["ema"] or {"params": state["params"], **state["model_state"]}


def _score(metrics: Any) -> float:
    return metrics[SCORE]


def _digest(folder: Path, step: int) -> str:
    """Lines 'sha256  path' of all files of a step, sorted, as the program sha256sum writes and checks them."""
    files = sorted(path for path in (folder / str(step)).rglob("*") if path.is_file())
    return "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder)}\n" for f in files)


def _seal(folder: Path, step: int) -> None:
    temporary = folder / f"{step}.sha256.tmp"
    with temporary.open("w") as file:
        file.write(_digest(folder, step))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{step}.sha256")
    kept = set(steps(folder))
    for seal in folder.glob("*.sha256"):
        if int(seal.stem) not in kept:
            seal.unlink()


def _set_bad_aside(folder: Path) -> None:
    """Renames the unsealed step folders, and the damaged ones down to the newest good one, to bad-STEP."""
    good = newest_good(folder)
    for step in steps(folder):
        sealed = (folder / f"{step}.sha256").is_file()
        if (sealed and step <= (good or -1)) or step == good:
            continue
        name = f"bad-{step}"
        while (folder / name).exists():
            name += "-again"
        (folder / str(step)).rename(folder / name)
        (folder / f"{step}.sha256").unlink(missing_ok=True)
        why = "is damaged" if sealed else "was never finished"
        goes_on = f"going on from step {good}" if good is not None else "starting from the beginning"
        warnings.warn(f"the checkpoint of step {step} {why}: renamed to {name}, {goes_on}", stacklevel=2)
