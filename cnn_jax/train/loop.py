"""The one loop: batch, step, log, evaluate, save, stop."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.data.batches import prefetch, training_batch
from cnn_jax.data.source import Source
from cnn_jax.train import checkpoint
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.meter import Meter, Show, Write
from cnn_jax.train.preempt import Preempted
from cnn_jax.train.run import Run, fresh
from cnn_jax.train.state import State

UNLOGGED = "unlogged"


class Hooks(NamedTuple):
    """What the loop tells the world.

    write: (step, split, metrics) -> into the metric log.
    show: (step, metrics) -> on the screen, after every step.
    evaluate: (step, state) -> the validation scores of this step, {} where none are due; it writes them itself.
    due: (step) -> whether anything is to be evaluated after it.
    stop: () -> whether the run has been asked to end.
    about: () -> the JSON kept with a checkpoint.
    """

    write: Write
    show: Show
    evaluate: Callable[[int, State], dict[str, float]]
    due: Callable[[int], bool]
    stop: Callable[[], bool]
    about: Callable[[], dict[str, Any]]


def fit(
    run: Run,
    train: Source,
    state: State,
    start: int,
    checkpoints: Checkpoints,
    hooks: Hooks,
    unlogged: Mapping[str, Any] | None = None,
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
    place, config, steps = run.engine.place_batch, run.config, run.steps
    data = config.data
    meter = Meter(
        steps, run.schedule, data.batch_size, config.max_skipped, hooks.write, hooks.show, start, unlogged or {}
    )
    checkpoints.prepare(run.engine.whole(state))
    batches = (
        place(training_batch(train, config.seed, step, data.batch_size, shuffle=data.shuffle))
        for step in range(start, steps.total)
    )
    for step, batch in enumerate(prefetch(batches), start + 1):
        state, fetch = run.engine.step(state, batch)
        meter.push(step, fetch)
        scores: dict[str, float] = {}
        stopping = hooks.stop()
        if hooks.due(step):
            meter.flush()
            scores = hooks.evaluate(step, state)
        if steps.due(step, steps.save) or stopping:
            meter.flush()
            # A copy: it is written while the next steps are added to the original.
            about = {**hooks.about(), UNLOGGED: {name: [*pair] for name, pair in meter.sums.items()}}
            checkpoints.save(step, run.engine.whole(state), about, scores.get(run.task.headline))
        checkpoints.poll()
        if stopping and step < steps.total:
            checkpoints.finish()
            raise Preempted(
                f"stopped at step {step} of {steps.total}, which is saved: run the same command again to go on"
            )
    meter.flush()
    checkpoints.finish()
    return state


def resume(run: Run, folder: Path, initial: Mapping[str, Any] | None = None) -> tuple[State, int, dict[str, Any]]:
    """The state to go on from, its step, and what was kept with it: of the newest good checkpoint, or a fresh state.

    A fresh state begins with the variables `initial`, by path; what is not there is drawn.
    """
    step = checkpoint.newest_good(folder)
    if step is None:
        return fresh(run, initial), 0, {}
    state = checkpoint.restore(folder, step, run.engine.target)
    return run.engine.place(state), step, checkpoint.read_about(folder, step) or {}
