"""The one loop: batch, step, log, evaluate, save, stop."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax import processes
from cnn_jax.data.batches import begun, in_turn, prefetch
from cnn_jax.data.source import Source
from cnn_jax.train import checkpoint, earlier
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.meter import Meter, Show, Write
from cnn_jax.train.preempt import Preempted, Stop
from cnn_jax.train.run import Run, fresh
from cnn_jax.train.state import State

UNLOGGED, UNSCORED = "unlogged", "unscored"


class Verdict(NamedTuple):
    """What an evaluation says of a state: its score, None where the validation was not due, and what follows from it.

    keep: whether the state must be saved, whatever else is due. end: whether the training ends with it. stop: whether
    it stops here, saved, to go on another time.
    """

    score: float | None = None
    keep: bool = False
    end: bool = False
    stop: bool = False


class Hooks(NamedTuple):
    """What the loop tells the world.

    write: (step, split, metrics) -> into the metric log.
    show: (step, metrics) -> on the screen, after every step.
    evaluate: (step, state) -> the verdict on it; it writes the scores itself, when all is evaluated. It may raise
      Preempted before. In a run of several processes the verdict must be the same in all.
    due: (step) -> whether anything is to be evaluated after it.
    stop: whether the run has been asked to end.
    about: () -> the JSON kept with a checkpoint.
    sync: () -> what was written is on disk.
    """

    write: Write
    show: Show
    evaluate: Callable[[int, State], Verdict]
    due: Callable[[int], bool]
    stop: Stop
    about: Callable[[], dict[str, Any]]
    sync: Callable[[], None]


def fit(
    run: Run,
    train: Source,
    state: State,
    start: int,
    checkpoints: Checkpoints,
    hooks: Hooks,
    unlogged: Mapping[str, Any] | None = None,
    *,
    unscored: bool = False,
) -> tuple[State, int]:
    """Trains from step `start` to the end, of the run or by a verdict, and returns the last state, saved, and its step.

    Args:
      run: the parts.
      train: the training split.
      state: after `start` steps.
      start: as `resume` gives it.
      checkpoints: where to save.
      hooks: whom to tell.
      unlogged: sums of the metrics since the last row of the log, kept with the checkpoint as UNLOGGED.
      unscored: whether what is due to be evaluated at `start` was not, kept with the checkpoint as UNSCORED.

    Raises Diverged, Preempted (after saving) or CheckpointError; the folder then holds all that was done before.
    """
    place, config, steps = run.engine.place_batch, run.config, run.steps
    data = config.data
    meter = Meter(
        steps, run.schedule, data.batch_size, config.max_skipped, hooks.write, hooks.show, start, unlogged or {}
    )
    checkpoints.prepare(run.engine.whole(state))
    part = {"process": processes.index(), "processes": processes.count()}
    batches = in_turn(
        begun(train, config.seed, step, data.batch_size, **part, shuffle=data.shuffle)
        for step in range(start, steps.total)
    )

    def save(step: int, score: float | None, *, unscored: bool = False) -> None:
        meter.flush()
        # A copy: it is written while the next steps are added to the original.
        sums = {name: [*pair] for name, pair in meter.sums.items()}
        about = {**hooks.about(), UNLOGGED: sums, **({UNSCORED: True} if unscored else {})}
        checkpoints.save(step, run.engine.whole(state), about, score, hooks.sync)

    done, saved, verdict = start, start, Verdict()
    try:
        with closing(prefetch(map(place, batches))) as ready, hooks.stop.held():
            if unscored:
                verdict = hooks.evaluate(start, state)
                hooks.sync()
                if processes.first():
                    checkpoint.write_score(checkpoints.folder, start, verdict.score)
                unscored = False
            if _begins_as_candidate(run, start, checkpoints.folder) and hooks.due(0):
                verdict = hooks.evaluate(0, state)
                save(0, verdict.score)
            for step in range(start + 1, steps.total + 1):
                if verdict.end:
                    break
                if verdict.stop:
                    raise Preempted
                with hooks.stop.waiting(nothing_to_save=done == saved, steady=step > start + 2):
                    batch = next(ready)
                if step == start + 1:
                    with hooks.stop.waiting(nothing_to_save=True):  # compiles
                        state, fetch = run.engine.step(state, batch)
                else:
                    state, fetch = run.engine.step(state, batch)
                done = step
                meter.push(step, fetch)
                verdict = Verdict()
                if hooks.due(step):
                    meter.flush()
                    unscored = True
                    verdict = hooks.evaluate(step, state)
                    unscored = False
                if steps.due(step, steps.save) or verdict.keep or verdict.end or verdict.stop:
                    save(step, verdict.score)
                    saved = step
                checkpoints.poll()
    except Preempted:
        if done > saved:
            save(done, None, unscored=unscored)
        checkpoints.finish()
        raise Preempted(
            f"stopped at step {done} of {steps.total}, which is saved: run the same command again to go on"
        ) from None
    meter.flush()
    checkpoints.finish()
    return state, done


def _begins_as_candidate(run: Run, start: int, folder: Path) -> bool:
    """Whether the state before the first step may be the best: with patience, where it is a linear probe."""
    settings = run.config
    wanted = start == 0 and settings.evaluate.patience > 0 and settings.transfer.head == "probe"
    return wanted and processes.shared(lambda: checkpoint.newest_good(folder)) is None


def resume(run: Run, folder: Path, initial: Mapping[str, Any] | None = None) -> tuple[State, int, dict[str, Any]]:
    """The state to go on from, its step, and what was kept with it: of the newest good checkpoint, or a fresh state.

    A fresh state begins with the variables `initial`, by path; what is not there is drawn.
    """
    step = processes.shared(lambda: checkpoint.newest_good(folder))
    if step is None:
        return fresh(run, initial), 0, {}
    about = processes.shared(lambda: kept_with(folder, step))
    return run.engine.place(checkpoint.restore(folder, step, run.engine.target)), step, about


def kept_with(folder: Path, step: int) -> dict[str, Any]:
    """What was kept with a checkpoint. Raises ValueError for sums and seconds that are none."""
    about = checkpoint.read_about(folder, step) or {}
    pairs, seconds = earlier.upgraded_sums(about.get(UNLOGGED, {})), about.get("seconds", {})
    if not all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in pairs.values()):
        raise ValueError(f"the sums kept with the checkpoint of step {step} in '{folder}' are no numbers")
    if not isinstance(seconds, dict) or not all(map(_is_number, seconds.values())):
        raise ValueError(f"the seconds kept with the checkpoint of step {step} in '{folder}' are no numbers")
    return {**about, UNLOGGED: pairs, "seconds": seconds}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e300
