"""What the training loop costs over the bare compiled step, how long it pauses to save, and whether its memory grows.

Command: python experiments/benchmarks/loop.py

Prints the median, over rounds that take turns, of (seconds of the loop) / (seconds of the same compiled step called on
one batch again and again), for the Fashion-MNIST experiment and for digits, whose steps take milliseconds; then how
long the loop is busy with a checkpoint of 100 MB, from a finished step to the dispatch of the next; then the process's
memory over 20 epochs of digits. The loop includes reading batches, moving them to the devices, metrics, log
and progress.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags
from child import megabytes

from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.launch import script

ROUNDS = flags.DEFINE_integer("rounds", 7, "how often each of the two is timed", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 6, "how long a round takes, about", lower_bound=0.1)
EPOCHS = flags.DEFINE_integer("epochs", 20, "epochs over which memory is watched", lower_bound=2)


def main() -> None:
    for name in ("fashion_mnist_fast", "digits"):
        ratio, milliseconds = _overhead(name)
        print(f"{name}: bare step {milliseconds:.1f} ms, loop / bare {ratio:.3f} (median of {ROUNDS.value} rounds)")
    pauses = sorted(_pauses())
    print(f"pause to save 100 MB: {statistics.median(pauses):.0f} ms, at most {pauses[-1]:.0f} ms (of {len(pauses)})")
    sizes = _memory()
    print(f"memory after epoch 2: {sizes[1]:.0f} MB, after epoch {EPOCHS.value}: {sizes[-1]:.0f} MB")


class _NoCheckpoints:
    """Stands in for Checkpoints: writing to the disk is not what is timed."""

    folder = Path(os.devnull)  # in which there is none

    def prepare(self, *_: object) -> None: ...

    def save(self, *_: object) -> None: ...

    def poll(self) -> None: ...

    def finish(self) -> None: ...


def _overhead(name: str) -> tuple[float, float]:
    """(median of loop / bare step, median milliseconds of a bare step)."""
    import jax

    from cnn_jax.data.batches import training_batch
    from cnn_jax.data.source import in_memory, opened
    from cnn_jax.launch.experiment_file import load
    from cnn_jax.report.log import MetricLog
    from cnn_jax.report.progress import progress
    from cnn_jax.train import loop
    from cnn_jax.train.preempt import Stop
    from cnn_jax.train.run import assemble, fresh

    _, config = load(name)
    config.duration, config.save_every = "1000000 steps", "0 steps"
    source = in_memory(opened(config.data.source, validation=config.data.validation)["train"])
    run = assemble(config, source.spec, len(source))
    state = fresh(run)
    batch = run.engine.place_batch(training_batch(source, 0, 0, config.data.batch_size))

    def bare(steps: int) -> float:
        nonlocal state
        began, before = time.perf_counter(), None
        for _ in range(steps):
            state, fetch = run.engine.step(state, batch)
            # As in the loop, at most two steps are under way: with 32 of them XLA's CPU devices lock each other out.
            if before:
                before()
            before = fetch
        jax.block_until_ready(state)
        return time.perf_counter() - began

    def looped(steps: int, log: MetricLog) -> float:
        nonlocal state
        whole = run._replace(steps=run.steps._replace(total=steps))
        began = time.perf_counter()
        with progress(steps, 0, run.steps.per_epoch, config.data.batch_size) as (show, _):
            hooks = loop.Hooks(log.write, show, lambda *_: loop.Verdict(), lambda _: False, Stop(), dict, lambda: None)
            state, _ = loop.fit(whole, source, state, 0, _NoCheckpoints(), hooks)  # type: ignore[arg-type]
        jax.block_until_ready(state)
        return time.perf_counter() - began

    bare(3)  # compiles
    steps = max(round(SECONDS.value / bare(5) * 5), 5)
    with tempfile.TemporaryDirectory() as folder, MetricLog(Path(folder), 0) as log:
        times = [(looped(steps, log), bare(steps)) for _ in range(ROUNDS.value)]
    return statistics.median(a / b for a, b in times), statistics.median(1000 * b / steps for _, b in times)


def _pauses() -> list[float]:
    """Milliseconds that each save adds to the step before which it stands."""
    import jax
    import numpy as np
    import optax

    from cnn_jax.data.spec import Field
    from cnn_jax.train import mesh, state
    from cnn_jax.train.checkpoint import Checkpoints

    def step(state: Any, batch: Any, key: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        params = jax.tree.map(lambda kernel: 0.999 * kernel, state.params)
        return state.replace(step=state.step + 1, params=params), {"loss": batch["image"].sum()}

    # About as large a state as ResNet-18's; of random numbers, as those that are all equal compress to nothing.
    draw = np.random.default_rng(0)
    params = {str(layer): draw.normal(size=(500, 250)).astype(np.float32) for layer in range(100)}
    now = state.create({"params": params}, optax.sgd(0.1, momentum=0.9), ema=False, loss_scale=False)
    fields = {"image": Field("value", (1,), "float32")}
    engine = mesh.build(step, now, jax.random.key(0), fields, parallel="jit", devices=jax.devices())
    now, batch = engine.place(now), engine.place_batch({"image": np.ones((jax.device_count(), 1), np.float32)})
    pauses = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep=2)
        checkpoints.prepare(engine.whole(now))
        for number in range(1, ROUNDS.value + 1):
            now, _ = engine.step(now, batch)
            jax.block_until_ready(now)
            began = time.perf_counter()
            checkpoints.save(number, engine.whole(now), {}, None)
            checkpoints.poll()
            now, _ = engine.step(now, batch)
            pauses.append(1000 * (time.perf_counter() - began))
            checkpoints.finish()
        checkpoints.close()
    return pauses


def _memory() -> list[float]:
    from cnn_jax.data.source import opened
    from cnn_jax.launch.experiment_file import load
    from cnn_jax.train import loop
    from cnn_jax.train.preempt import Stop
    from cnn_jax.train.run import assemble, fresh

    _, config = load("digits")
    config.duration, config.evaluate.every = f"{EPOCHS.value} epochs", "1 epochs"
    source = opened(config.data.source, validation=config.data.validation)["train"]
    run = assemble(config, source.spec, len(source))
    sizes: list[float] = []

    def watch(*_: object) -> loop.Verdict:
        sizes.append(megabytes("VmRSS"))
        return loop.Verdict()

    steps = run.steps
    hooks = loop.Hooks(
        write=lambda *_: None,
        show=lambda *_: None,
        evaluate=watch,
        due=lambda step: steps.due(step, steps.evaluate),
        stop=Stop(),
        about=dict,
        sync=lambda: None,
    )
    loop.fit(run, source, fresh(run), 0, _NoCheckpoints(), hooks)  # type: ignore[arg-type]
    return sizes


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main)
