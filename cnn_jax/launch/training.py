"""One run from its configuration to its results: the parts are put together, the loop turns, the test split is read."""

import importlib
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax.config import Experiment
from cnn_jax.data.source import Source, View
from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.launch import initial, run_folder
from cnn_jax.report import log as metric_log
from cnn_jax.report.log import MetricLog
from cnn_jax.report.progress import progress
from cnn_jax.train import checkpoint, loop, transfer
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.evaluate import Predictions, predictions
from cnn_jax.train.preempt import stop_requested
from cnn_jax.train.run import Run, assemble, check_augment, check_stem, make_model, open_split
from cnn_jax.train.state import State, Tree


def train(config: Experiment, folder: Path, experiment_file: Path) -> dict[str, float]:
    """Trains, or goes on training, the run in `folder`, scores it on the test split once, and returns the scores.

    Raises ValueError for what does not fit, and what `loop.fit` raises.
    """
    began = time.monotonic()
    run_folder.refuse_other_run(folder, config)
    source = open_split(config, "train", also=("test",))  # that it is missing is said now, not at the end
    start_with = initial.prepare(config, source.spec, folder)
    run = assemble(config, start_with.spec, len(source))
    check_augment(config, source.spec)
    check_stem(run)
    with run_folder.opened(folder):
        if start_with.record:
            run_folder.write_json(folder / run_folder.WEIGHTS, start_with.record)
        if isinstance(source, View) and config.data.labels < 1:
            used = {"positions": source.indices.tolist(), "labels": source.labels.tolist()}
            run_folder.write_json(folder / run_folder.LABELS, used)
        run_folder.describe_run(folder, config, experiment_file, run.spec, len(source))
        checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS, keep=config.keep)
        state, start, about = loop.resume(run, checkpoints.folder, start_with.variables)
        results = folder / run_folder.RESULTS
        if start == run.steps.total and results.is_file():
            print(f"{folder} is complete (step {start}): nothing to do; --fresh starts anew")
            return _headlines(run_folder.read_json(results))
        print(_introduction(run, state, start, folder), flush=True)
        clock = Clock(about.get("seconds", {}), began)
        try:
            state = _fit(run, source, state, start, checkpoints, folder, clock, about.get(loop.UNLOGGED, {}))
        finally:
            checkpoints.close()
        return _finish(run, state, folder, clock)


class Clock:
    """Seconds of a run over all its sessions: in total, in the loop, and compiling."""

    def __init__(self, before: dict[str, float], began: float) -> None:
        self.before, self.began = before, began
        self.loop_began = self.compile = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._compiled)

    def _compiled(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            self.compile += duration_secs

    def seconds(self) -> dict[str, float]:
        """What has passed up to now."""
        now = time.monotonic()
        spent = {"total": now - self.began, "train": now - self.loop_began, "compile": self.compile}
        return {name: round(self.before.get(name, 0.0) + value, 2) for name, value in spent.items()}


def _fit(
    run: Run,
    source: Source,
    state: State,
    start: int,
    checkpoints: Checkpoints,
    folder: Path,
    clock: Clock,
    unlogged: dict[str, float],
) -> State:
    versions = run_folder.read_json(folder / run_folder.VERSIONS)
    config = run_folder.read_json(folder / run_folder.CONFIG)
    validation = open_split(run.config, "validation") if run.config.data.validation else None

    def validate(state: State) -> dict[str, float]:
        return plain(score(run, run.engine.variables(state), validation)[0]) if validation else {}

    def about() -> dict[str, Any]:
        return {"config": config, "versions": versions, "data": run.spec.fingerprint, "seconds": clock.seconds()}

    steps = run.steps
    with (
        stop_requested() as stop,
        MetricLog(folder, start) as log,
        progress(steps.total, start, steps.per_epoch, run.config.data.batch_size) as show,
    ):
        clock.loop_began = time.monotonic()
        hooks = loop.Hooks(log.write, show, validate, stop, about)
        return loop.fit(run, source, state, start, checkpoints, hooks, unlogged)


def score(run: Run, variables: Tree, source: Source) -> tuple[dict[str, Any], Predictions]:
    """The scores of the model on a whole split, and what it predicts there."""
    found = predictions(run.engine, variables, source, run.config.data.eval_batch_size)
    return run.task.scores(found.outputs, found.labels), found


def _finish(run: Run, state: State, folder: Path, clock: Clock) -> dict[str, float]:
    """The final evaluation: the only place of a training run that reads the test split."""
    source = open_split(run.config, "test")
    test, found = score(run, run.engine.variables(state), source)
    rows = metric_log.read(folder)
    validation = [row for row in rows if row["split"] == "validation"]
    results = {
        "test": test,
        "validation": validation[-1] if validation else None,
        "seed": run.config.seed,
        "steps": run.steps.total,
        "seconds": clock.seconds(),
        "parameters": parameters(run.engine.whole(state).params),
        "devices": f"{run.engine.devices} x {jax.devices()[0].device_kind}",
        "best_step": checkpoint.best(folder / run_folder.CHECKPOINTS),
    }
    np.savez_compressed(folder / "predictions.npz", labels=found.labels, positions=found.positions, **found.outputs)  # type: ignore[arg-type]
    report = importlib.import_module(f"cnn_jax.report.{run.task.kind}")
    report.figures(folder / run_folder.FIGURES, rows, found, source)
    run_folder.write_json(folder / run_folder.RESULTS, results)  # last: with it the run is complete
    print(f"test: {', '.join(f'{name} {value:.4f}' for name, value in plain(test).items())}")
    print(f"results in {folder / run_folder.RESULTS}, pictures in {folder / run_folder.FIGURES}/")
    return _headlines(results)


def parameters(params: Tree) -> int:
    """The number of trained numbers."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(params))


def plain(scores: dict[str, Any]) -> dict[str, float]:
    """The scores that are single numbers."""
    return {name: value for name, value in scores.items() if isinstance(value, int | float)}


def _headlines(results: dict[str, Any]) -> dict[str, float]:
    return {
        **plain(results["test"]),
        "seconds": results["seconds"]["total"],
        "train_seconds": results["seconds"]["train"],
    }


def _introduction(run: Run, state: State, start: int, folder: Path) -> str:
    engine, steps, config = run.engine, run.steps, run.config
    device = jax.devices()[0].device_kind
    where = f"{engine.devices} {device} device{'s' if engine.devices > 1 else ''}, {config.compute.parallel}"
    begins = f"going on from step {start}" if start else "from the beginning"
    total = parameters(engine.whole(state).params)
    trained = f"{_trained(run):,} trained, " if config.transfer.frozen else ""
    if config.transfer.weights:
        begins += f" with the weights of {config.transfer.weights}" * (not start)
    return (
        f"{config.name}: {run.examples} examples of {run.spec.name} {run.spec.shape}, {len(run.spec.classes)} classes\n"
        f"{total:,} parameters, {trained}{where}, {config.compute.precision}\n"
        f"{steps.total} steps of {config.data.batch_size} ({steps.total / steps.per_epoch:.1f} epochs), {begins}, "
        f"in {folder}"
    )


def _trained(run: Run) -> int:
    """The number of parameters that are not frozen."""
    model = make_model(run.config, run.spec)
    factors = transfer.plan(run.config.transfer, model, run.spec.shape)
    shapes = variable_shapes(model, run.spec.shape)
    return sum(math.prod(shapes[path]) for path, factor in factors.items() if factor and path.startswith("params/"))
