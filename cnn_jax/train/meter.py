"""The metrics of training steps: fetched one step late, added up until the next row of the log."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import optax

from cnn_jax.train.mesh import Fetch
from cnn_jax.train.steps import Steps

Write = Callable[[int, str, Mapping[str, Any]], None]
Show = Callable[[int, Mapping[str, Any]], None]
Sums = dict[str, list[float]]  # {name: [sum, count]}

SKIPPED = "skipped"


class Diverged(Exception):
    """Too many updates in a row were nan or inf."""

    exit_code = 3


class Meter:
    """Sums of the training metrics since the last row of the log.

    The metrics of step k are fetched after step k + 1 has been dispatched, so that the devices never wait for the host.
    No more than two steps are under way at a time: with 32 of them XLA's CPU devices would lock each other out.

    Args:
      steps, schedule, batch_size, max_skipped: of the run.
      write: (step, split, metrics) -> into the metric log. show: (step, metrics) -> on the screen.
      start: the step that training begins after.
      sums: what a checkpoint kept of the steps before it that no row has shown yet.
    """

    def __init__(
        self,
        steps: Steps,
        schedule: optax.Schedule,
        batch_size: int,
        max_skipped: int,
        write: Write,
        show: Show,
        start: int,
        sums: Mapping[str, Any],
    ) -> None:
        self.steps, self.schedule, self.batch_size, self.max_skipped = steps, schedule, batch_size, max_skipped
        self.write, self.show = write, show
        self.pending: tuple[int, Fetch] | None = None
        self.sums: Sums = {name: list(pair) for name, pair in sums.items()}
        self.since, self.time = start, time.monotonic()

    def push(self, step: int, fetch: Fetch) -> None:
        """Takes what fetches the metrics of the step just dispatched, and looks at those of the one before."""
        before, self.pending = self.pending, (step, fetch)
        self._take(before)

    def flush(self) -> None:
        """Looks at the metrics of the latest step, which has to wait for it."""
        before, self.pending = self.pending, None
        self._take(before)

    def _take(self, pending: tuple[int, Fetch] | None) -> None:
        if pending is None:
            return
        step, metrics = pending[0], pending[1]()
        skipped, norm = int(metrics.pop(SKIPPED)), metrics.pop("grad_norm")
        if skipped >= self.max_skipped:
            raise Diverged(
                f"the loss, its gradient or the new weights were nan or inf for {skipped} steps in a row, up to step "
                f"{step}: lower --config.optim.lr, add warm-up (--config.optim.warmup='5%'), clip "
                "(--config.optim.clip=1), or look for inputs that are too large"
            )
        for name, (total, count) in {SKIPPED: (1, 1)}.items() if skipped else metrics.items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += total
            pair[1] += count
        means = {name: total / max(count, 1) for name, (total, count) in self.sums.items() if name != SKIPPED}
        self.show(step, means)
        if self.steps.due(step, self.steps.log):
            self._log(step, means, norm)

    def _log(self, step: int, means: dict[str, float], norm: float) -> None:
        now = time.monotonic()
        skipped = {SKIPPED: self.sums[SKIPPED][0]} if SKIPPED in self.sums else {}
        row = {
            **means,
            **skipped,
            "epoch": step / self.steps.per_epoch,
            "learning_rate": float(self.schedule(step - 1)),
            "grad_norm": norm,
            "examples_per_second": (step - self.since) * self.batch_size / max(now - self.time, 1e-9),
        }
        self.write(step, "train", row)
        self.sums, self.since, self.time = {}, step, now
