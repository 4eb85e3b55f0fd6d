"""One run from its configuration to its results: the parts are put together, the loop turns, the test split is read."""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import config as configuration
from cnn_jax import processes, report
from cnn_jax.config import Experiment
from cnn_jax.data.source import (
    Source,
    Splits,
    View,
    fraction,
    in_memory,
    note_absent_classes,
    opened,
    say,
    skipped,
    split_of,
    strata,
)
from cnn_jax.evals.evaluator import digits, to_json
from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.launch.evaluations import VALIDATION, Evaluations
from cnn_jax.paths import printable
from cnn_jax.report import log as metric_log
from cnn_jax.report.log import MetricLog, NoLog
from cnn_jax.report.progress import progress
from cnn_jax.train import checkpoint, cost, energy, extension, loop, profiling, run_folder, transfer
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.checks import check_augment, check_batch_size, check_stem, refuse_local_modules
from cnn_jax.train.energy import Energy
from cnn_jax.train.evaluate import evaluate, writer
from cnn_jax.train.patience import CRITERION
from cnn_jax.train.preempt import Preempted, Stop, stop_requested
from cnn_jax.train.run import Run, alone, assemble, predictor_of
from cnn_jax.train.state import State, Tree
from cnn_jax.train.steps import in_steps
from cnn_jax.weights import initial, probe


def train(
    config: Experiment, folder: Path, experiment_file: Path | None, until: str = "", profiled: int = 0
) -> dict[str, float]:
    """Trains, or goes on training, the run in `folder`, scores it on the test split once, and returns the scores.

    experiment_file: is kept in the folder; None for a configuration that names parts of this project alone.
    until: a duration after which the training stops, saved, at the next validation, to go on another time: Preempted.
    profiled: so many steps are looked at, see `profiling.recording`.

    Raises ValueError for what does not fit, Preempted where a signal asks for it, and what `loop.fit` raises.
    """
    with stop_requested() as stop:
        return _train(config, folder, experiment_file, until, profiled, stop)


def _train(
    config: Experiment, folder: Path, experiment_file: Path | None, until: str, profiled: int, stop: Stop
) -> dict[str, float]:
    began, taken = time.monotonic(), energy.meter()
    # Whatever can be refused is refused before the folder is touched: a mistake leaves nothing behind.
    values = configuration.to_json(config)
    processes.shared(lambda: run_folder.refuse_other_run(folder, values))
    if experiment_file is not None:
        refuse_local_modules(experiment_file, values)
    splits = opened(config.data.source, validation=config.data.validation)
    scored = {_final_split(config, splits), *([VALIDATION] if config.data.validation else [])}
    for split in sorted(scored & splits.keys()):  # what is missing is said now, not at the end
        note_absent_classes(splits, split)
    source = _training_split(config, splits)
    check_batch_size(config.data.batch_size, len(source))
    processes.agree([source.spec.fingerprint, len(source)], _other_data)
    config = extension.continued(config, folder, len(source))
    values = configuration.to_json(config)
    start_with = initial.prepare(config, source.spec, folder, source)
    run = assemble(config, start_with.spec, len(source))
    report.check(run.task.report)
    check_augment(config.augment, source.spec, config.data.batch_size, run.task)
    if run.task.report == "classify":
        check_stem(run.model, run.spec)
    evaluations = Evaluations(run, splits, _stop_at(run, until) if until else 0)
    probed = config.transfer.head == "probe" and probe.last_layer(run.model, run.spec)
    processes.barrier()  # all have read what was there before
    with processes.holding(partial(run_folder.opened, folder), folder / run_folder.LOCK):
        if probed and start_with.variables:  # none are read for a run that goes on
            with stop.waiting(nothing_to_save=True):
                layer, record = probe.fitted(alone(run), start_with.variables, source, evaluations.validation)
            print(probe.said(record), flush=True)
            start_with = start_with._replace(
                variables={**start_with.variables, **layer},
                record={**(start_with.record or {}), "head": "probe", "probe": record},
            )
        if processes.first():
            _describe(folder, values, experiment_file, run, source, splits, start_with.record)
        processes.barrier()
        checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS, keep=config.keep)
        state, start, about = loop.resume(run, checkpoints.folder, start_with.variables)
        unscored = bool(about.get(loop.UNSCORED)) and not processes.shared(
            lambda: checkpoint.is_scored(checkpoints.folder, start)
        )
        evaluations.recall(processes.shared(lambda: metric_log.read_until(folder, start, unscored=unscored)))
        ended = start == run.steps.total or evaluations.over()
        if ended and (done := processes.shared(lambda: _results(folder / run_folder.RESULTS, config.seed, start))):
            longer = "a longer --config.duration makes it longer, the experiment with --fresh starts anew"
            print(f"{folder} is complete (step {start}): nothing to do; {longer}")
            return done
        if not ended and evaluations.stopped():
            raise Preempted(f"{folder} is at step {start}, past --until={until}: leave that out to go on")
        if not ended and processes.first():
            run_folder.keep_results(folder, start)
        print(_introduction(run, state, start, folder, start_with.head), flush=True)
        clock = Clock(about.get("seconds", {}), began, energy.going_on(taken, about.get(energy.KEPT)))
        try:
            with profiling.recording(run, folder, profiled) as seen:
                state, reached = _fit(
                    seen, source, evaluations, state, start, checkpoints, folder, clock, about, stop, unscored=unscored
                )
        finally:
            checkpoints.close()
        with stop.waiting(nothing_to_save=True):
            return _finish(run, splits, evaluations, state, reached, folder, clock)


def _stop_at(run: Run, until: str) -> int:
    """The step that `until` means. Raises ValueError where no validation follows it before the end."""
    if not run.config.data.validation or not run.steps.evaluate:
        raise ValueError(
            f"--until={until} stops at a validation: keep a split for it, as --config.data.validation=0.1, and say how "
            "often it is scored, as --config.evaluate.every='1 epochs'"
        )
    size, total = run.config.data.batch_size, run.steps.total
    return in_steps(until, examples=run.examples, batch_size=size, total=total)


def _other_data(first: list[Any], other: list[Any]) -> str:
    return "" if first == other else f"has other training data ({other[1]} examples, process 0 has {first[1]})"


def _describe(
    folder: Path,
    values: dict[str, Any],
    experiment_file: Path | None,
    run: Run,
    source: Source,
    splits: Splits,
    weights: Mapping[str, Any] | None,
) -> None:
    """Writes what a run is, before it begins."""
    if weights:
        run_folder.write_json(folder / run_folder.WEIGHTS, weights)
    if isinstance(source, View) and run.config.data.labels < 1:
        groups = strata(source)
        used = {"positions": source.indices.tolist(), "labels": None if groups is None else groups.tolist()}
        run_folder.write_json(folder / run_folder.LABELS, used)
    run_folder.describe_run(folder, values, experiment_file, run.spec, len(source), splits)
    _write_skipped(folder, [skipped(splits)])


def _write_skipped(folder: Path, parts: list[dict[str, list[str]]]) -> None:
    """Writes which examples could not be decoded, as each process has met some of them."""
    found = {split: sorted({why for part in parts for why in part.get(split, ())}) for part in parts for split in part}
    if found:
        run_folder.write_json(folder / run_folder.SKIPPED, found)


def _results(path: Path, seed: int, steps: int) -> dict[str, float] | None:
    """What a complete run has returned; None where that is not there, damaged or another run's: it is computed anew."""
    if not path.is_file():
        return None
    try:
        written = run_folder.read_json(path)
        found = _headlines(written)
        own = (written["seed"], written["steps"]) == (seed, steps)
        if own and all(isinstance(value, int | float) for value in found.values()):
            return found
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    warnings.warn(f"'{path}' is damaged, or another run's: the run is scored again", stacklevel=3)
    return None


def _final_split(config: Experiment, splits: Splits) -> str:
    """The split that is scored at the end: without a test split, the set's own validation split, which is said."""
    if config.evaluate.test != "end":
        return VALIDATION
    if "test" in splits or isinstance(splits.get(VALIDATION), View | None):  # a part of train is no test
        split_of(splits, "test")
        return "test"
    name = splits[VALIDATION].spec.name
    say([f"{name} has no test split: its validation split is scored at the end (config.evaluate.test)"])
    return VALIDATION


def _training_split(config: Experiment, splits: Splits) -> Source:
    source = in_memory(split_of(splits, "train"))
    return fraction(source, config.data.labels) if config.data.labels < 1 else source


class Clock:
    """Seconds of a run over all its sessions: in total, in the loop, and compiling; and what it has `taken`."""

    def __init__(self, before: dict[str, float], began: float, taken: Callable[[], Energy]) -> None:
        self.before, self.began, self.taken = before, began, taken
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
    evaluations: Evaluations,
    state: State,
    start: int,
    checkpoints: Checkpoints,
    folder: Path,
    clock: Clock,
    before: Mapping[str, Any],
    stop: Stop,
    *,
    unscored: bool,
) -> tuple[State, int]:
    names = (run_folder.VERSIONS, run_folder.CONFIG) if processes.first() else ()
    kept = {Path(name).stem: run_folder.read_json(folder / name) for name in names}
    steps, size = run.steps, run.config.data.batch_size

    def about() -> dict[str, Any]:
        spent = {"seconds": clock.seconds(), energy.KEPT: clock.taken().joules}
        return {**kept, "data": run.spec.fingerprint, CRITERION: [*evaluations.criterion], **spent}

    with (
        MetricLog(folder, start, unscored=unscored) if processes.first() else nullcontext(NoLog()) as log,
        progress(steps.total, start, steps.per_epoch, size, run.spec.units) as (show, say),
    ):
        clock.loop_began = time.monotonic()
        if evaluations.over():
            return state, start
        if evaluations.validation is not None and evaluations.shown > 1:
            say([f"of {evaluations.shown} validations one is shown here (evaluate.every); {metric_log.FILE} has all"])
        evaluate = partial(evaluations.evaluate, write=log.write, say=say, waiting=stop.waiting)
        hooks = loop.Hooks(log.write, show, evaluate, evaluations.due, stop, about, log.sync)
        return loop.fit(run, source, state, start, checkpoints, hooks, before.get(loop.UNLOGGED), unscored=unscored)


def _finish(
    run: Run, splits: Splits, evaluations: Evaluations, state: State, reached: int, folder: Path, clock: Clock
) -> dict[str, float]:
    """The final evaluation: the only place of a training run that reads the test split.

    It scores the state after the last step, or with patience the best by validation.
    """
    config, checkpoints = run.config, folder / run_folder.CHECKPOINTS
    rows = metric_log.read(folder) if processes.first() else []
    best = processes.shared(lambda: checkpoint.best(checkpoints))
    step = reached if best is None or not config.evaluate.patience else best
    if step != reached:
        state = run.engine.place(checkpoint.restore(checkpoints, step, run.engine.target))
    split, source = _final_split(config, splits), evaluations.validation
    if config.evaluate.test == "end" and (split == "test" or source is None):
        source = in_memory(split_of(splits, split))
    if step != reached or reached < run.steps.total or not evaluations.last:  # what the log has, has no intervals
        evaluations.evaluate_all(state)
    logged = {row["split"]: row for row in rows if row["split"] != "train" and row["step"] == step}
    last = {
        name: {"step": step, "split": name, **logged.get(name, {}), **found} for name, found in evaluations.last.items()
    }
    results: dict[str, Any] = {"test": None, "validation": last.pop(VALIDATION, None), "also": last}
    if source is not None:
        keep = writer(folder / run_folder.OUTPUTS, source) if config.evaluate.outputs else None
        scores = evaluate(predictor_of(run, state), source, config.evaluate.batch_size, keep)
        results[split] = to_json(scores)
        if processes.first():
            run_folder.write_tables(folder / run_folder.TABLES / f"{split}.npz", scores, run.spec)
            report.of(run.task.report).figures(folder / run_folder.FIGURES, rows, scores, source)
    results |= {
        "headline": run.task.headline,
        "seed": config.seed,
        "steps": reached,
        "step": step,
        "seconds": clock.seconds(),
        "parameters": parameters(run.engine.whole(state).params),
        "devices": f"{run.engine.devices} x {jax.devices()[0].device_kind}",
        "best_step": best if evaluations.history else None,  # without scores it would be the last
    }
    results |= {"processes": processes.count()} if processes.count() > 1 else {}
    found = processes.gathered(skipped(splits))
    if processes.first():
        _write_skipped(folder, found)
        results["cost"] = cost.cost(run, rows, clock.taken())
        run_folder.write_json(folder / run_folder.RESULTS, results)  # last: with it the run is complete
        if results["cost"]:
            print(cost.said(results["cost"]))
    for line in _outcome(run, evaluations, reached, step):
        print(line)
    if source is not None:
        print(_listed(split, to_json(scores), run.task.headline))
    for name in last:  # further evaluations
        print(_listed(printable(name), evaluations.last[name]))
    print(f"results in {folder / run_folder.RESULTS}, pictures in {folder / run_folder.FIGURES}/")
    return _headlines(results)


def _listed(title: str, scores: Mapping[str, Any], headline: str = "") -> str:
    """Scores as JSON has them, in lines of at most 120 characters, the headline's with its interval."""
    lines, intervals = [f"{title}:"], scores["interval95"]
    for name, value in scores.items():
        if name == "interval95":
            continue
        said = f"{name} {digits(math.nan if value is None else value)}"
        if name == headline and name in intervals:
            said += " (95 % {:.3f} to {:.3f})".format(*intervals[name])
        if len(lines[-1]) + len(said) > 118:
            lines.append(" ")
        lines[-1] += f" {said},"
    return "\n".join(lines).removesuffix(",")


def _outcome(run: Run, evaluations: Evaluations, reached: int, scored: int) -> list[str]:
    """How the training ended by its validation, and which state is scored."""
    best, (name, sign), lines = evaluations.standing(), evaluations.criterion, list[str]()
    if reached < run.steps.total:
        times = f"{name} was not better {best.waited} times (evaluate.patience)"
        lines.append(f"ended early at step {reached} of {run.steps.total}: {times}")
    if best.step is not None:
        which = ", which is" if scored == best.step else f"; {'the last, ' * (scored == reached)}step {scored}, is"
        lines.append(f"best {name} by validation: {sign * best.score:.4f} at step {best.step}{which} scored")
    return lines


def parameters(params: Tree) -> int:
    """The number of trained numbers."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(params))


def _headlines(results: dict[str, Any]) -> dict[str, float]:
    scores = results["test"] or results["validation"] or {}
    return {
        **{name: value for name, value in scores.items() if isinstance(value, int | float)},
        "seconds": results["seconds"]["total"],
        "train_seconds": results["seconds"]["train"],
    }


def _introduction(run: Run, state: State, start: int, folder: Path, head: str) -> str:
    engine, steps, config, spec = run.engine, run.steps, run.config, run.spec
    device = jax.devices()[0].device_kind
    several = f" of {processes.count()} processes" if processes.count() > 1 else ""
    where = f"{engine.devices} {device} device{'s' if engine.devices > 1 else ''}{several}, {config.compute.parallel}"
    begins = f"going on from step {start}" if start else "from the beginning"
    total = parameters(engine.whole(state).params)
    trained = f"{_trained(run):,} trained, " if config.transfer.frozen else ""
    if config.extended:
        made = (f"at step {step} ({how})" for how, step in configuration.extensions(config.extended))
        begins += f", made longer {', '.join(made)}"
    if config.transfer.weights:
        begins += f" with the weights of {config.transfer.weights}" * (not start)
        begins += f" ({head})" * bool(head and not start)
    return (
        f"{config.name}: {run.examples} {spec.units} of {spec.name} {spec.input.shape}, {len(spec.classes)} classes\n"
        f"{total:,} parameters, {trained}{where}, {config.compute.precision}\n"
        f"{steps.total} steps of {config.data.batch_size} ({steps.total / steps.per_epoch:.1f} epochs), {begins}, "
        f"in {folder}"
    )


def _trained(run: Run) -> int:
    """The number of parameters that are not frozen."""
    shape = run.spec.input.shape
    factors = transfer.plan(run.config.transfer, run.model, shape)
    shapes = variable_shapes(run.model, shape)
    return sum(math.prod(shapes[path]) for path, factor in factors.items() if factor and path.startswith("params/"))
