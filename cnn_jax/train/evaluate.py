"""Scores over a whole split: every example once, streamed, whatever the batch size and the number of devices."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from cnn_jax import processes
from cnn_jax.data.batches import evaluation_batches, prefetch
from cnn_jax.data.source import Example, Source, file_names
from cnn_jax.data.spec import INDEX, VALID
from cnn_jax.evals.also import Evaluation
from cnn_jax.evals.evaluator import Score, Scores
from cnn_jax.train.predictor import Arrays, Predictor, computed_in_turn, scored

FILES = "files.txt"

Keep = Callable[[dict[str, np.ndarray], Example], None]


def evaluate(predictor: Predictor, source: Source, batch_size: int, keep: Keep | None = None) -> Scores:
    """The task's scores and its loss over every example of `source`.

    Args:
      predictor: the model.
      source: the split.
      batch_size: examples per call; rounded to a multiple of the devices, and not above the size of the split.
      keep: is handed each batch's outputs, as `writer` makes one.
    """
    evaluation = Evaluation("", source, predictor.task.evaluator)
    return evaluate_also(predictor, evaluation, batch_size, keep)


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within it NumPy's matrix products run in their own thread alone.

    They score a batch while XLA computes the next one on all cores. The threads that a product starts there are waited
    for by spinning, which made the evaluation of a small network twice as long.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@_one_thread()
def evaluate_also(
    predictor: Predictor,
    evaluation: Evaluation,
    batch_size: int,
    keep: Keep | None = None,
    waiting: Callable[[], Any] = nullcontext,
) -> Scores:
    """The scores of an evaluation; with the task's own predictions also its loss.

    Each batch is waited for within `waiting`, which may end all by an exception. The last batch is padded and the
    padding dropped; so is an example that could not be decoded. Of several processes each takes its part of every
    batch; all get the numbers, process 0 alone the tables and what `keep` is handed.
    """
    source, evaluator = evaluation.source, evaluation.evaluator
    batch_size = predictor.devices * -(-min(batch_size, len(source)) // predictor.devices)
    forward = partial(predictor.compiled(evaluation.predict or scored(predictor.task)), predictor.variables)
    totals, sums = evaluator.start(), np.zeros(2)
    part = {"process": processes.index(), "processes": processes.count()}
    batches = _each(prefetch(evaluation_batches(source, batch_size, **part)), waiting)
    for batch, said in computed_in_turn(forward, batches):
        outputs, losses = (said, None) if evaluation.predict else said
        # Every call has one shape, or one of a few, each with a program; rows that stand for no example end here.
        mine, theirs = _real(outputs, batch)
        totals = evaluator.add(totals, mine, theirs)
        if losses:  # one sum for each device, of float32; over the batches they add up in float64
            sums += [np.sum(part, dtype=np.float64) for part in losses["loss"]]
        if keep:
            for of_process in processes.gathered((mine, theirs)):
                keep(*of_process)
    return _finished(evaluation, processes.gathered((totals, sums)))


def _real(outputs: Arrays, batch: Arrays) -> tuple[Example, Example]:
    """Outputs and batch without the rows that stand for no example."""
    real = batch[VALID] > 0
    return {name: array[real] for name, array in outputs.items()}, {name: array[real] for name, array in batch.items()}


def _finished(evaluation: Evaluation, parts: list[tuple[Any, np.ndarray]]) -> Scores:
    """The scores of all processes together, which process 0 has; the others get its numbers."""
    tables: dict[str, np.ndarray] = {}

    def numbers() -> dict[str, Score]:
        nonlocal tables
        totals, sums = parts[0]
        for more, others in parts[1:]:
            totals, sums = evaluation.evaluator.merge(totals, more), sums + others
        scores, tables = evaluation.evaluator.finish(totals)
        loss = {} if evaluation.predict else {"loss": Score(float(sums[0] / max(sums[1], 1)))}
        return {**loss, **scores}

    return Scores({name: Score(*score) for name, score in processes.shared(numbers).items()}, tables)


def _each(batches: Iterator[Example], waiting: Callable[[], Any]) -> Iterator[Example]:
    while True:
        with waiting():
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def writer(folder: Path, source: Source) -> Keep:
    """Streams outputs, targets and positions of the examples of `source` into `folder`/NAME.npy, [N, ...] each.

    files.txt has the file of each on a line, where they come from files. Where some could not be decoded, as many rows
    at the end are 0, with the index -1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {}
    count, written = len(source), 0
    (folder / FILES).unlink(missing_ok=True)
    # Of texts, whose lengths differ, files.txt has the words.
    left = {VALID, *(name for name, field in source.spec.inputs.items() if field.role == "tokens")}

    def keep(outputs: dict[str, np.ndarray], batch: Example) -> None:
        nonlocal written
        rows = {**{name: array for name, array in batch.items() if name not in left and array.ndim < 3}, **outputs}
        for name, array in rows.items():
            if name not in files:
                shape = (count, *array.shape[1:])
                files[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", array.dtype, shape)
                files[name][:] = -1 if name == INDEX else 0
            files[name][written : written + len(array)] = array
        written += len(next(iter(rows.values())))
        if names := file_names(source, batch[INDEX]):
            with (folder / FILES).open("a", encoding="utf-8") as text:
                text.writelines(f"{name}\n" for name in names)

    return keep
