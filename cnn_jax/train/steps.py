"""When things are due: durations in steps, epochs, examples or percent of the training, turned into steps."""

from typing import NamedTuple

from cnn_jax.config import DURATION, LARGEST, Experiment


class Steps(NamedTuple):
    """When things are due, in steps. The last step always evaluates, saves and logs; 0 means only then."""

    total: int
    evaluate: int
    save: int
    log: int
    per_epoch: float

    def due(self, step: int, every: int) -> bool:
        """Whether what is done every so many steps is done after `step`."""
        return step == self.total or (every > 0 and step % every == 0)


def steps_of(config: Experiment, examples: int) -> Steps:
    """The steps of a run over a training split of `examples`. Raises ValueError for a training of no step."""
    batch_size = config.data.batch_size
    total = in_steps(config.duration, examples=examples, batch_size=batch_size)
    if total == 0:
        raise ValueError(f"duration = '{config.duration}' is no training: ask for at least 1 step")
    every = [
        in_steps(text, examples=examples, batch_size=batch_size, total=total)
        for text in (config.evaluate.every, config.save_every, config.log_every)
    ]
    return Steps(total, every[0], every[1], every[2], per_epoch=examples / batch_size)


def in_steps(text: str, *, examples: int, batch_size: int, total: int | None = None) -> int:
    """The duration `text` in optimizer steps, rounded to the nearest and at least 1, or 0 where it says 0.

    Args:
      text: such as '20 epochs', '500 steps', '60000 examples' or '5%'.
      examples: size of the training split.
      batch_size: examples per step.
      total: steps of the whole training, which a percentage needs.
    """
    match = DURATION.match(text)
    if not match:
        raise ValueError(f"'{text}' is not a duration: write '20 epochs', '500 steps', '60000 examples' or '5%'")
    amount, unit = float(match[1]), match[2].rstrip("s")
    if unit == "%" and total is None:
        raise ValueError(f"'{text}': the length of the training itself cannot be a percentage")
    per_unit = {"step": 1.0, "epoch": examples / batch_size, "example": 1 / batch_size, "%": (total or 0) / 100}[unit]
    found = amount * per_unit
    if found > LARGEST:
        raise ValueError(f"'{text[:100]}' is more than {LARGEST} steps")
    return max(1, round(found)) if amount else 0
