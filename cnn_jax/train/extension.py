"""Runs that are made longer: `train` with a longer duration goes on with the state that there is.

How the learning rate goes on is a setting. 'stretch' is the schedule of the longer run, warm-up included, from the
present step on; 'restart' lets the schedule, warm-up included, begin anew over the steps that are left. Where and how
is recorded in the configuration, so that the run can be killed and go on, or be made again.
"""

import dataclasses
from itertools import pairwise
from pathlib import Path

import optax

from cnn_jax.config import RESTART, Experiment, extensions
from cnn_jax.train import checkpoint, run_folder
from cnn_jax.train.steps import in_steps


def continued(config: Experiment, folder: Path, examples: int) -> Experiment:
    """`config` as it is for the run in `folder`: with where that was made longer before, and where it is now.

    One that began with a new last layer by default, as all did once, goes on with that in its configuration.

    Raises ValueError for a shorter duration. That all else agrees, `run_folder.refuse_other_run` sees to.
    """
    before = run_folder.configuration_of(folder)
    if before is None:
        return config
    if config.transfer.head == "auto" and before["transfer"]["head"] == "new":
        config = dataclasses.replace(config, transfer=dataclasses.replace(config.transfer, head="new"))
    if before["duration"] == config.duration:
        return dataclasses.replace(config, extended=before["extended"])
    old, new = (
        in_steps(text, examples=examples, batch_size=config.data.batch_size)
        for text in (before["duration"], config.duration)
    )
    if new == old:  # said in other words
        return dataclasses.replace(config, duration=before["duration"], extended=before["extended"])
    if new < old:
        raise ValueError(
            f"the run in '{folder}' is of {old} steps, and duration = '{config.duration}' is {new}: a run can be made "
            "longer, not shorter; choose another --workdir, or start anew with --fresh"
        )
    now = checkpoint.newest_good(folder / run_folder.CHECKPOINTS)
    # Before the first checkpoint it is a longer run from the start. Where later checkpoints are lost, what was to
    # happen from here on happens as is said now.
    made = [pair for pair in extensions(before["extended"]) if not now or pair[1] < now]
    made += [(config.extend, now)] if now else []
    return dataclasses.replace(config, extended=", ".join(f"{how} {step}" for how, step in made))


def schedule(config: Experiment, examples: int, total: int) -> optax.Schedule:
    """The learning rate of a training of `total` steps, with each restart that the configuration records.

    Raises ValueError where a warm-up or a restart lies beyond the steps that there are.
    """
    optim = config.optim
    bounds = [0, *(step for how, step in extensions(config.extended) if how == RESTART), total]
    parts = []
    for begin, end in pairwise(bounds):
        if begin >= end:
            raise ValueError(f"extended = '{config.extended}' restarts at step {begin}, not before step {end}")
        length = end - begin
        warmup = in_steps(optim.warmup, examples=examples, batch_size=config.data.batch_size, total=length)
        if warmup > length:
            after = f" after the restart at step {begin}" if begin else ""
            raise ValueError(
                f"optim.warmup = '{optim.warmup}' is {warmup} steps, longer than the training of {length}{after}: make "
                "it shorter, as --config.optim.warmup='5%'"
            )
        parts.append(optim.schedule(optim.lr, length, warmup))
    return optax.join_schedules(parts, bounds[1:-1]) if len(parts) > 1 else parts[0]
