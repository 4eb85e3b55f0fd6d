"""Checkpoints that can be trusted: Orbax writes them, a digest written last says that they are whole.

Orbax commits a step folder atomically but loads flipped bytes as wrong weights, and takes any folder named like a step
for a checkpoint. So each step N has a file N.sha256 beside its folder, in the format of the sha256sum program, written
when everything else is on disk; what does not match is renamed away. Older checkpoints are removed only after that: at
any moment at least one is whole.

What was renamed away, as bad-N, is kept until the run is opened again with a whole checkpoint of a later step.
"""

import hashlib
import itertools
import json
import math
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import SingleDeviceSharding

from cnn_jax import processes
from cnn_jax.data.arrays import allowed
from cnn_jax.train.state import State

SCORE = "score"
ABOUT = "metadata"  # Orbax's name for the file of a JSON item
LARGEST = 64 * 2**20  # bytes of it
SCORE_ADDED = "score.json"  # in the folder of a step: its score, where that was found out after it was saved
_OPENED = itertools.count()  # of the folders, for the names of what processes wait for
TURN = 5e-4  # seconds after which a thread lets another one go on
STEP = re.compile(r"0|[1-9][0-9]*")
BAD = re.compile(r"bad-([0-9]+)(-again)*")
LEFT_BEHIND = re.compile(r"removed-[0-9]+|[0-9]+\.orbax-checkpoint-tmp.*|[0-9]+\.sha256\.tmp")


class CheckpointError(OSError):
    """A checkpoint could not be written."""


class Checkpoints:
    """The checkpoints of one run, for the process that trains it.

    Keeps the latest `keep` and the one with the best score. Saving goes on in the background: `poll` raises what has
    gone wrong there, `finish` waits. Opening renames damaged and stray step folders to bad-N, with a warning.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        # Orbax's threads print a traceback of what they also raise, and what is raised here is one line.
        logging.set_verbosity(logging.FATAL)
        _hear_no_closed_loops()
        # By default a thread waits up to 5 ms for its turn at Python, and a step is dispatched in several turns: beside
        # the thread that writes, that made saves of 100 MB pause the loop for up to 116 ms in place of 50.
        sys.setswitchinterval(TURN)
        self.folder, self.keep = folder, keep
        if processes.first():
            folder.mkdir(parents=True, exist_ok=True)
            put_in_order(folder)
        self._number = next(_OPENED)
        processes.barrier(f"checkpoints in order {self._number}")
        self._writer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._underway: tuple[int, Future[None]] | None = None

    def prepare(self, state: State) -> None:
        """Compiles before the first step what would make the first save the longest pause."""
        if jax.default_backend() == "cpu":
            _snapshot(state)

    def save(
        self,
        step: int,
        state: State,
        about: Mapping[str, Any],
        score: float | None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts to write `state` and the JSON `about`; raises CheckpointError where that or the last save failed.

        `first` is called in the background before the checkpoint counts: it brings to disk what has to be there then.
        """
        self.finish()
        if processes.first() and any(later >= step for later in steps(self.folder)):
            raise self._failed(step, "a later one exists")
        on_host = jax.default_backend() == "cpu"
        if on_host:
            # There the device's memory is the host's: the next, donated, step would write into what is being saved.
            state = _snapshot(state)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave({**about, SCORE: score}))
        started = not on_host or jax.process_count() > 1
        if started:  # all processes at the same point between two steps, before the devices' memory changes
            try:
                self._start(step, items)
            except Exception as error:  # from a full disk, OSError or ValueError
                raise self._failed(step, error) from error
        self._underway = step, self._thread.submit(self._complete, step, None if started else items, first)

    def poll(self) -> None:
        """Raises CheckpointError if the last save has failed by now."""
        if self._underway is not None and self._underway[1].done():
            self.finish()

    def finish(self) -> None:
        """Waits until the last checkpoint is on disk and sealed."""
        underway, self._underway = self._underway, None
        if underway is None:
            return
        try:
            underway[1].result()
        except Exception as error:  # Orbax raises whatever its writing threads met
            raise self._failed(underway[0], error) from error

    def close(self) -> None:
        """Waits, and releases the threads."""
        self._thread.shutdown()
        self._writer.close()

    def _start(self, step: int, items: ocp.args.Composite) -> None:
        self._writer.save((self.folder / str(step)).absolute(), items)

    def _complete(self, step: int, items: ocp.args.Composite | None, first: Callable[[], None]) -> None:
        """All that follows a snapshot, off the loop's thread."""
        if items is not None:
            self._start(step, items)
        self._writer.wait_until_finished()  # for the files of all processes
        if processes.first():
            first()
            _seal(self.folder, step)
            _remove_all_but(self.folder, self.keep)
        processes.barrier(f"sealed {self._number} {step}")

    def _failed(self, step: int, why: object) -> CheckpointError:
        good = newest_good(self.folder)
        system = re.search(r"os_error_code='?([0-9]+)", str(why))  # after 500 characters about TensorStore's own files
        text = os.strerror(int(system[1])) if system else str(why).strip() or type(why).__name__
        reason = text.splitlines()[0][:200]
        newest = f"the newest good one is of step {good}" if good else "there is no earlier one"
        return CheckpointError(f"the checkpoint of step {step} could not be written ({reason}); {newest}")


def put_in_order(folder: Path) -> None:
    """Removes what a kill has left behind, sets bad checkpoints aside, and removes those that the run has passed."""
    _clear(folder)
    bad = [path for path in folder.iterdir() if BAD.fullmatch(path.name)]
    _remove_passed(bad, _set_bad_aside(folder))


def steps(folder: Path) -> list[int]:
    """The steps that have a folder, newest first, good or not."""
    names = (path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()
    return sorted((int(name) for name in names if STEP.fullmatch(name)), reverse=True)


def is_good(folder: Path, step: int) -> bool:
    """Whether all files of the checkpoint of `step` are, byte for byte, what was written; others do not count."""
    seal = folder / f"{step}.sha256"
    text = seal.read_text(errors="replace") if seal.is_file() else ""
    lines = [line.partition("  ") for line in text.splitlines()]
    own = all(name.startswith(f"{step}/") and ".." not in Path(name).parts for _, _, name in lines)
    return text.endswith("\n") and own and all(_digest(folder / name) == digest for digest, _, name in lines)


def newest_good(folder: Path) -> int | None:
    """The latest step with a good checkpoint."""
    return next((step for step in steps(folder) if is_good(folder, step)), None)


def best(folder: Path) -> int | None:
    """The first step with the best score among the good checkpoints; the latest where no score was recorded."""
    return _best(folder, [step for step in steps(folder) if is_good(folder, step)])


def has_scores(folder: Path) -> bool:
    """Whether a checkpoint has a score, by which it may be the best."""
    return any(isinstance(_score(folder, step), int | float) for step in steps(folder))


def read_about(folder: Path, step: int) -> dict[str, Any] | None:
    """The JSON saved beside the state of `step`, or None where it is missing or damaged."""
    try:  # not through Orbax, in which processes wait for one another
        path = folder / str(step) / "about" / ABOUT
        if not path.is_file() or path.stat().st_size > LARGEST:  # a pipe would never end
            return None
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return about if isinstance(about, dict) else None


def is_scored(folder: Path, step: int) -> bool:
    """Whether `write_score` has been called."""
    return (folder / str(step) / SCORE_ADDED).is_file()


def write_score(folder: Path, step: int, score: float | None) -> None:
    """Adds the score of a checkpoint that was saved before it was evaluated. The seal covers what was there before."""
    write_atomically(folder / str(step) / SCORE_ADDED, json.dumps({SCORE: score}))


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a kill, or a cut of the power, at any moment leaves the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # which may be a link to anywhere
    with temporary.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def restore(folder: Path, step: int, target: State) -> State:
    """The state of `step`, into the shapes and shardings of `target`; the number of devices may have changed."""
    with ocp.StandardCheckpointer() as reader:
        return reader.restore((folder / str(step) / "state").absolute(), target)


def restore_variables(folder: Path, step: int) -> Any:
    """The variables that are evaluated at `step`, as NumPy arrays, whatever model and devices they come from.

    Raises ValueError for a checkpoint that cannot be read, or declares more than `arrays.allowed` for the size of its
    files: what is not there is filled, so that a few bytes could ask for any amount of memory.
    """
    path = (folder / str(step) / "state").absolute()
    try:
        with ocp.StandardCheckpointer() as reader:
            here = SingleDeviceSharding(jax.devices()[0])
            target = jax.tree.map(
                lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=here),
                reader.metadata(path).item_metadata,
            )
            need = sum(math.prod(array.shape) * array.dtype.itemsize for array in jax.tree.leaves(target))
            limit = allowed(sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))
            if need > limit:
                raise ValueError(f"its arrays take {need:,} bytes, at most {limit:,}")
            state = jax.device_get(reader.restore(path, target))
        return {"params": state["params"], **state["model_state"], **(state["ema"] or {})}  # as `state.evaluated`
    except Exception as error:  # Orbax raises many kinds on what it did not write
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:200]
        raise ValueError(f"the checkpoint of step {step} in '{folder}' cannot be read: {reason}") from error


def _hear_no_closed_loops() -> None:
    """After a failed write TensorStore's threads still tell Orbax's event loop, which is gone: not worth a word."""
    uncaught, unraisable = sys.excepthook, sys.unraisablehook  # they come in by either way

    def is_closed_loop(error: BaseException | None) -> bool:
        return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"

    def hear_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not is_closed_loop(error):
            uncaught(kind, error, trace)

    def hear_unraisable(what: Any) -> None:
        if not is_closed_loop(what.exc_value):
            unraisable(what)

    if getattr(unraisable, "__name__", "") != hear_unraisable.__name__:
        sys.excepthook, sys.unraisablehook = hear_uncaught, hear_unraisable


@jax.jit
def _copied(arrays: list[jax.Array]) -> list[jax.Array]:
    return [jnp.copy(array) for array in arrays]


def _snapshot(state: State) -> State:
    """The state in memory of its own, one copy of each whole array; it is dispatched, not waited for."""
    leaves, structure = jax.tree.flatten(state)
    groups: dict[frozenset[jax.Device], list[int]] = {}  # one program for all on the same devices
    for position, leaf in enumerate(leaves):
        if leaf.is_fully_replicated and leaf.is_fully_addressable:
            leaves[position] = leaf.addressable_data(0)
        groups.setdefault(frozenset(leaves[position].sharding.device_set), []).append(position)
    for positions in groups.values():
        copies = _copied([leaves[position] for position in positions])
        for position, copy in zip(positions, copies, strict=True):
            leaves[position] = copy
    return jax.tree.unflatten(structure, leaves)


def _best(folder: Path, candidates: list[int]) -> int | None:
    scores = {step: _score(folder, step) for step in candidates}
    scored = [(score, step) for step, score in scores.items() if isinstance(score, int | float) and score == score]
    # The earliest of equals, as early stopping takes it.
    return max(scored, key=lambda pair: (pair[0], -pair[1]))[1] if scored else max(scores, default=None)


def _score(folder: Path, step: int) -> Any:
    try:
        return json.loads((folder / str(step) / SCORE_ADDED).read_text())[SCORE]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # there is none, in most cases
        return (read_about(folder, step) or {}).get(SCORE)


def _digest(path: Path, *, sync: bool = False) -> str | None:
    """sha256 of a file, read in pieces, or None where it is no file; with `sync` also of what is then on the disk."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if sync:
                os.fsync(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # a name that a damaged seal made up
        return None


def _seal(folder: Path, step: int) -> None:
    """Writes lines 'sha256  path' of all files of a step, sorted, as the program sha256sum writes and checks them."""
    files = sorted(path for path in (folder / str(step)).rglob("*") if path.is_file())
    text = "".join(f"{_digest(path, sync=True)}  {path.relative_to(folder)}\n" for path in files)
    for inner in (path for path in (folder / str(step), *(folder / str(step)).rglob("*"), folder) if path.is_dir()):
        _sync_folder(inner)  # the names of the files too, before a seal says that all is there
    write_atomically(folder / f"{step}.sha256", text)
    _sync_folder(folder)  # and the seal before what came before is removed


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_all_but(folder: Path, keep: int) -> None:
    """Removes what is neither among the latest `keep` nor the best; called when the latest has been sealed."""
    found = steps(folder)
    best_one = _best(folder, found)
    for step in found[keep:]:
        if step != best_one:
            # Renamed first: a kill leaves no half of a checkpoint.
            shutil.rmtree((folder / str(step)).rename(folder / f"removed-{step}"))
            (folder / f"{step}.sha256").unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Removes what a kill left behind of saving, sealing and removing."""
    known = set(steps(folder))
    for path in folder.iterdir():
        if LEFT_BEHIND.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.suffix == ".sha256" and STEP.fullmatch(path.stem) and int(path.stem) not in known:
            path.unlink()


def _set_bad_aside(folder: Path) -> int | None:
    """Renames unsealed steps, and damaged ones down to the newest good one, to bad-STEP, and returns the good one."""
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
    return good


def _remove_passed(bad: list[Path], good: int | None) -> None:
    """Removes what was set aside of steps that the run has passed since: it takes room and is of no use any more."""
    for path in bad:
        step = int(path.name.split("-")[1])
        # Only what this project wrote: a folder of someone else's that was called like a step may hold anything.
        if step < (good or 0) and ((path / "state").is_dir() or not any(path.iterdir())):
            shutil.rmtree(path.rename(path.with_name(f"removed-{step}")))
