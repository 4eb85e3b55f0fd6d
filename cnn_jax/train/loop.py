"""The one loop: batch, step, log, evaluate, save, stop."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cnn_jax.data.batches import prefetch, training_batch
from cnn_jax.data.source import Source
from cnn_jax.train import checkpoint
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.preempt import Preempted
from cnn_jax.train.run import Run, fresh
from cnn_jax.train.state import State

UNLOGGED = "unlogged"

Write = Callable[[int, str, Mapping[str, Any]], None]


class Diverged(Exception):
    """Too many updates in a row were nan or inf."""

    exit_code = 3


class Hooks(NamedTuple):
    """What the loop tells the world.

    write: (step, split, metrics) -> into the metric log.
    show: (step, metrics) -> on the screen, after every step.
    validate: (state) -> the validation scores, or {} without a validation split.
    stop: () -> whether the run has been asked to end.
    about: () -> the JSON kept with a checkpoint.
    """

    write: Write
    show: Callable[[int, Mapping[str, Any]], None]
    validate: Callable[[State], dict[str, float]]
    stop: Callable[[], bool]
    about: Callable[[], dict[str, Any]]


def fit(
    run: Run,
    train: Source,
    state: State,
    start: int,
    checkpoints: Checkpoints,
    hooks: Hooks,
    unlogged: Mapping[str, float] | None = None,
) -> State:
    """Trains from step `start` to the end and returns the last state, saved.

    Args:
      run: the parts.
      train: the training split.
      state: after `start` steps.
      start: as `resume` gives it.
      checkpoints: where to save.
      hooks: whom to tell.
      unlogged: sums of the metrics since the last row of the log, kept with the checkpoint as UNLOGGED.

    Raises Diverged, Preempted (after saving) or CheckpointError; the folder then holds all that was done before.
    """
    meter = Meter(run, hooks, start, unlogged or {})
    checkpoints.prepare(run.engine.whole(state))
    place, seed, data = run.engine.place_batch, run.config.seed, run.config.data
    batches = (
        place(training_batch(train, seed, step, data.batch_size, shuffle=data.shuffle))
        for step in range(start, run.steps.total)
    )
    for step, batch in enumerate(prefetch(batches), start + 1):
        state, metrics = run.engine.step(state, batch)
        meter.push(step, metrics)
        scores: dict[str, float] = {}
        stopping = hooks.stop()
        if run.steps.evaluates_after(step):
            meter.flush()
            scores = hooks.validate(state)
            if scores:
                hooks.write(step, "validation", {**scores, "epoch": step / run.steps.per_epoch})
        if run.steps.saves_after(step) or stopping:
            meter.flush()
            about = {**hooks.about(), UNLOGGED: dict(meter.sums)}
            checkpoints.save(step, run.engine.whole(state), about, scores.get(run.task.headline))
        checkpoints.poll()
        if stopping and step < run.steps.total:
            checkpoints.finish()
            raise Preempted(
                f"stopped at step {step} of {run.steps.total}, which is saved: run the same command again to go on"
            )
    meter.flush()
    checkpoints.finish()
    return state


class Meter:
    """Sums of the training metrics since the last row of the log.

    The metrics of step k are fetched after step k + 1 has been dispatched, so that the devices never wait for the host.
    No more than two steps are under way at a time: with 32 of them XLA's CPU devices would lock each other out.
    """

    def __init__(self, run: Run, hooks: Hooks, start: int, sums: Mapping[str, float]) -> None:
        self.run, self.hooks = run, hooks
        self.pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self.sums = dict(sums)
        self.since, self.time = start, time.monotonic()

    def push(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of the step just dispatched and looks at those of the one before."""
        before, self.pending = self.pending, (step, metrics)
        self._take(before)

    def flush(self) -> None:
        """Looks at the metrics of the latest step, which has to wait for it."""
        before, self.pending = self.pending, None
        self._take(before)

    def _take(self, pending: tuple[int, Mapping[str, jax.Array]] | None) -> None:
        if pending is None:
            return
        step, metrics = pending[0], {name: float(value) for name, value in jax.device_get(pending[1]).items()}
        skipped, norm = metrics.pop("skipped"), metrics.pop("grad_norm")
        if skipped >= self.run.config.max_skipped:
            raise Diverged(
                f"the loss or its gradient was nan or inf for {int(skipped)} steps in a row, up to step {step}: "
                "lower --config.optim.lr, add warm-up (--config.optim.warmup='5%') or clip (--config.optim.clip=1)"
            )
        if skipped:
            self.sums["skipped"] = self.sums.get("skipped", 0) + 1
        else:
            for name, value in metrics.items():
                self.sums[name] = self.sums.get(name, 0) + value
        means = self._means()
        self.hooks.show(step, {name: means[name] for name in means if name != "skipped"})
        if self.run.steps.logs_after(step):
            now = time.monotonic()
            rate = (step - self.since) * self.run.config.data.batch_size / max(now - self.time, 1e-9)
            row = {
                **means,
                "epoch": step / self.run.steps.per_epoch,
                "learning_rate": float(self.run.schedule(step - 1)),
                "grad_norm": norm,
                "examples_per_second": rate,
            }
            self.hooks.write(step, "train", row)
            self.sums, self.since, self.time = {}, step, now

    def _means(self) -> dict[str, float]:
        count = max(self.sums.get("count", 0), 1)
        means = {name: total / count for name, total in self.sums.items() if name not in ("count", "skipped")}
        return {**means, **({"skipped": self.sums["skipped"]} if "skipped" in self.sums else {})}


def resume(run: Run, folder: Path, initial: Mapping[str, Any] | None = None) -> tuple[State, int, dict[str, Any]]:
    """The state to go on from, its step, and what was kept with it: of the newest good checkpoint, or a fresh state.

    A fresh state begins with the variables `initial`, by path; what is not there is drawn.
    """
    step = checkpoint.newest_good(folder)
    if step is None:
        return fresh(run, initial), 0, {}
    state = checkpoint.restore(folder, step, run.engine.target)
    return run.engine.place(state), step, checkpoint.read_about(folder, step) or {}
