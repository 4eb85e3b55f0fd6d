"""What `explain RUN` says of a run as a whole: its benchmark of methods, their sanity, and its timeline."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from cnn_jax.data.scoring import aligned
from cnn_jax.data.source import Source, evenly, in_memory, opened, split_of
from cnn_jax.explain import benchmark as benchmarks
from cnn_jax.explain import verdicts as sanity
from cnn_jax.explain.inside.timeline import timeline
from cnn_jax.explain.methods import Method, chosen
from cnn_jax.explain.subjects import BATCH
from cnn_jax.explain.truth.masks import object_masks
from cnn_jax.explain.words import over as words_over
from cnn_jax.inspect.table import table
from cnn_jax.paths import printable
from cnn_jax.report import timeline as timelines
from cnn_jax.report import truth
from cnn_jax.report.tables import csv_table
from cnn_jax.train import checkpoint, run_folder
from cnn_jax.train.predictor import Opened, Predictor, load, predict, stored_variables

FOLDER, NAME = "explanations", "benchmark"
VERDICTS = "verdicts.json"  # the step of a checkpoint, and {method: what its sanity test has said of it}
EXAMPLES = 256  # of a timeline
SHOWN = 8  # words of a class that are printed


def compare(
    folder: Path,
    which: str | None,
    methods: dict[str, Method],
    *,
    asked: bool,
    split: str,
    count: int,
    second: Path | None,
    randomised: Path | None = None,
    layer: str,
    seed: int,
    out: Path,
) -> None:
    """Prints and writes the benchmark of `methods` on `count` examples of a split of the run's own data.

    asked: whether somebody named the methods; if not, those that the model has no part for are left out, which is said.
    second: another run of the same network, trained alike from another seed, with which sanity is tested; randomised:
    one that learned random labels, with which it is tested too. Raises ValueError for folders that do not fit together.
    """
    found = load(folder, which, devices=jax.devices()[:1])
    other, memorised = (None if run is None else _other(run, folder, found) for run in (second, randomised))
    source, spec = _source(found, folder, split), found.predictor.spec
    rows = evenly(len(source), count)
    batch = source.batch(rows)
    inputs = {name: batch[name] for name in spec.inputs}
    there = _found(found.predictor, inputs)
    if missing := int((~there).sum()):
        print(f"{missing} of {len(rows)} {spec.units} are left out: nothing was found in them that could be explained")
        batch, inputs, rows = (jax.tree.map(lambda a: a[there], part) for part in (batch, inputs, rows))
    if not asked and (why := benchmarks.without_layers(found.predictor, inputs)):
        warnings.warn(f"no class activation maps: {why}", stacklevel=2)
        methods = {name: method for name, method in methods.items() if method.kind != "layer"}

    def masks(places: np.ndarray, of: Mapping[str, Any]) -> np.ndarray | None:
        own = {name: array[places] for name, array in batch.items()}
        return object_masks(spec.targets, own, spec.input.shape[:-1], of["class"], of.get("box"))

    how: dict[str, Any] = {"layer": layer, "seed": seed}
    with _progress("truth tests", len(rows), len(methods) + len(benchmarks.CONTROLS)) as done:
        scored = benchmarks.benchmark(found.predictor, inputs, methods, masks=masks, index=rows, done=done, **how)
    ranked = benchmarks.table(scored)
    print(f"{len(rows)} of {len(source)} {spec.units}, {split} split of {source.spec.name}, step {found.step}")
    print(table(*benchmarks.lines(ranked)))
    print(
        f"* surely better than each control ({', '.join(benchmarks.CONTROLS)}); mean rank: of the columns with an arrow"
    )
    verdicts = {}
    if other is not None:
        with _progress("sanity", len(rows), len(methods)) as done:
            verdicts = sanity.verdicts(found.predictor, other, inputs, methods, memorised=memorised, done=done, **how)
        width = max(map(len, verdicts))
        print("\n".join(f"{name:{width}}  {sanity.words(verdict)}" for name, verdict in verdicts.items()))
    else:
        print("sanity is not tested: say --second=RUN, a run of this experiment from another seed")
    out.mkdir(parents=True, exist_ok=True)
    directions = {name: benchmarks.ARROWS[sign] for name, sign in benchmarks.MEASURES.items()}
    truth.draw(ranked, directions, list(benchmarks.CONTROLS), out / f"{NAME}.png")
    _write_csv(out / f"{NAME}.csv", ranked)
    np.savez_compressed(
        out / f"{NAME}.npz", methods=scored.methods, measures=list(directions), values=scored.values, index=rows
    )
    if verdicts:
        said = {name: sanity.words(verdict) for name, verdict in verdicts.items()}
        run_folder.write_json(out / VERDICTS, {"step": found.step, "verdicts": said})
    print(f"written to {out}/{NAME}.png, .csv and .npz")


@contextmanager
def _progress(what: str, examples: int, methods: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, if that is a terminal, that goes on when it is told a method that a batch is done by."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=-(-examples // BATCH) * methods)
        yield lambda name: bar.update(task, advance=1, description=f"{what}: {name}")


def verdicts_of(folder: Path, step: int) -> dict[str, str]:
    """What the sanity test of each method has said of the run at `step`; {} where there was none."""
    path = folder / FOLDER / VERDICTS
    try:
        kept = run_folder.read_json(path)
    except (OSError, ValueError):
        return {}
    said = kept.get("verdicts")
    if kept.get("step") != step or not isinstance(said, dict):
        return {}
    return {name: printable(line)[:200] for name, line in said.items()}


def history(folder: Path, *, split: str, out: Path) -> None:
    """Writes the timeline of a run over the checkpoints that it has kept, as one page."""
    found = load(folder, devices=jax.devices()[:1])
    steps = sorted(checkpoint.steps(folder / run_folder.CHECKPOINTS))
    if len(steps) < 2:
        warnings.warn(f"'{folder}' has {len(steps)} checkpoint: --config.keep=N in training keeps more", stacklevel=2)
    source = _source(found, folder, split)
    batch = source.batch(evenly(len(source), EXAMPLES))
    inputs = {name: batch[name] for name in found.predictor.spec.inputs}
    at = ((step, _nested(stored_variables(folder, str(step)).variables)) for step in steps)
    seen = timeline(found.predictor, at, inputs)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "timeline.html"
    checkpoint.write_atomically(path, timelines.page(str(folder), *seen))
    print(f"{len(steps)} checkpoints, {len(seen.layers)} layers; page in {path}")


def words(
    folder: Path, which: str | None, name: str, *, split: str, count: int, least: int, seed: int, out: Path
) -> None:
    """Prints and writes which words count most for each class, over `count` texts of a split of the run's own data.

    name: of a method. least: how often a word must occur in texts of a class. Raises ValueError for other data.
    """
    found = load(folder, which, devices=jax.devices()[:1])
    spec = found.predictor.spec
    if spec.input.role != "tokens":
        raise ValueError(f"'{folder}' was trained on {spec.units}, which have no words: --words is for texts")
    source = _source(found, folder, split)
    rows = evenly(len(source), count)
    batch = source.batch(rows)
    counted = words_over(
        found.predictor, {next(iter(spec.inputs)): batch[next(iter(spec.inputs))]}, name, chosen([name])[name],
        least=least, seed=seed,
    )  # fmt: skip
    print(f"{len(rows)} of {len(source)} {spec.units}, {split} split of {source.spec.name}, step {found.step}: {name}")
    out.mkdir(parents=True, exist_ok=True)
    with csv_table(out / "words.csv", ranked=False) as write:
        for label, texts, ranked in zip(spec.classes, counted.texts.tolist(), counted.of, strict=True):
            line = ", ".join(f"{printable(word.word)} {word.mean:+.3g} ({word.times})" for word in ranked[:SHOWN])
            print(f"{printable(label)}, said of {texts}: {line or 'no word often enough'}")
            write({"class": label}, [{"word": word.word, "mean": word.mean, "count": word.times} for word in ranked])
    if counted.rare:
        print(f"left out are {counted.rare:,} words that occur less than {least} times in texts of a class: --least=1")
    if counted.unknown:
        print(f"{counted.unknown:,} places hold words that the model does not know, which are not counted")
    print(f"the mean of what a word counts, and how often it occurs; all in {printable(out / 'words.csv')}")


def _source(found: Opened, folder: Path, split: str) -> Source:
    if found.config is None:
        raise ValueError(f"'{folder}' was imported, not trained: it has no data of its own to be explained on")
    splits = opened(found.config.data.source, validation=found.config.data.validation)
    return aligned(in_memory(split_of(splits, split)), found.predictor.spec)


def _found(predictor: Predictor, inputs: dict[str, np.ndarray]) -> NDArray[np.bool_]:
    """In which of N examples there is something to explain [N]: of a detector, those in which it finds a box.

    Raises ValueError where there is none.
    """
    count = len(next(iter(inputs.values())))
    if not hasattr(predictor.model, "detections"):
        return np.ones(count, bool)
    there = predict(predictor, inputs)["labels"][:, 0] >= 0
    if not there.any():
        raise ValueError(f"nothing was found in any of {count} images, so there is no box to explain")
    return there


def _other(second: Path, folder: Path, found: Opened) -> Any:
    nested, own = _nested(stored_variables(second).variables), found.predictor.variables
    if jax.tree.map(np.shape, nested) != jax.tree.map(np.shape, own):
        raise ValueError(f"'{second}' is a run of another network than '{folder}': give one of the same experiment")
    if all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (nested, own)), strict=True)):
        raise ValueError(f"'{second}' has the weights of '{folder}': give a run from another seed")
    return nested


def _nested(variables: dict[str, np.ndarray]) -> Any:
    return unflatten_dict(variables, sep="/")


def _write_csv(path: Path, rows: list[benchmarks.Row]) -> None:
    with csv_table(path, ranked=False) as write:
        for row in rows:
            known = {measure: score for measure, score in row.scores.items() if np.isfinite(score.value)}
            cells = [
                {
                    "measure": measure,
                    "better": benchmarks.ARROWS[benchmarks.MEASURES[measure]],
                    **score._asdict(),
                    "surely_better_than": " ".join(row.beaten.get(measure, ())),
                }
                for measure, score in known.items()
            ]
            write({"method": row.method, "mean_rank": row.place}, cells)
