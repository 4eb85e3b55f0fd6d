"""Durations in steps, epochs, examples or percent of the training, turned into steps in one place."""

from cnn_jax.config import DURATION


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
    return max(1, round(amount * per_unit)) if amount else 0
