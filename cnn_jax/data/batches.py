"""Batches of a source: training batches as a pure function of (seed, step), evaluation batches that visit all once.

A batch is the fields of the source plus INDEX [B] int32, the position in the split (-1 for padding), and VALID [B]
float32, 1 for a real example and 0 for padding or an undecodable image. With several processes each takes its own
contiguous slice of every global batch, so the examples of a step do not depend on their number.
"""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

import numpy as np

from cnn_jax.data.keyed import Keys, mixed
from cnn_jax.data.source import Example, Source, permutation
from cnn_jax.data.spec import INDEX, VALID

T = TypeVar("T")


def training_indices(seed: int, step: int, *, batch_size: int, size: int, shuffle: bool = True) -> np.ndarray:
    """Indices [batch_size] of the examples of training step `step` (from 0) over a split of `size`.

    Every epoch is a fresh permutation keyed by (seed, epoch); the epochs lie end to end and steps cut them into
    batches, so a batch may span two epochs and every example is seen exactly once per epoch. Without `shuffle` every
    epoch goes through the split in its own order.

    Raises:
      ValueError: a negative seed or step, or no examples.
    """
    if min(seed, step) < 0 or min(batch_size, size) < 1:
        raise ValueError(f"need seed, step >= 0 and batch_size, size >= 1, not {seed}, {step}, {batch_size}, {size}")
    first = step * batch_size
    if not shuffle:
        return np.arange(first, first + batch_size) % size
    epochs = range(first // size, (first + batch_size - 1) // size + 1)
    orders = np.concatenate([permutation(size, seed, epoch) for epoch in epochs])
    start = first - epochs[0] * size
    return orders[start : start + batch_size]


def training_batch(
    source: Source, seed: int, step: int, batch_size: int, *, process: int = 0, processes: int = 1, shuffle: bool = True
) -> Example:
    """The batch of training step `step`, or this process's [batch_size / processes] part of it."""
    indices = training_indices(seed, step, batch_size=batch_size, size=len(source), shuffle=shuffle)
    epochs = (step * batch_size + np.arange(batch_size)) // len(source)
    part = _part(batch_size, process, processes)
    # By the example, not by its place in the batch: what is drawn while reading does not depend on who reads it.
    return _read(source, indices[part], mixed(seed, epochs[part], indices[part]))


def evaluation_batches(source: Source, batch_size: int, *, process: int = 0, processes: int = 1) -> Iterator[Example]:
    """Yields every example exactly once, in order; the last batch is padded: example 0, index -1, VALID 0."""
    part = _part(batch_size, process, processes)
    for start in range(0, len(source), batch_size):
        indices = np.full(batch_size, -1)
        count = min(batch_size, len(source) - start)
        indices[:count] = np.arange(start, start + count)
        yield _read(source, indices[part])


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T]:
    """Yields `items` in order while a background thread prepares up to `depth` of them ahead.

    An exception of `items` reaches the consumer at its place in the order. When the consumer stops early (closes the
    generator, or drops it) the thread ends after the item in hand.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    return _prefetch(items, depth)


def _prefetch(items: Iterable[T], depth: int) -> Generator[T]:
    room = threading.Semaphore(depth)  # taken before an item is made, so that no more than `depth` are waiting
    ready: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def produce() -> None:
        try:
            iterator = iter(items)
            while room.acquire() and not stopped.is_set():
                ready.put((next(iterator),))
        except StopIteration:
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while (entry := ready.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            room.release()
            yield entry[0]
            del entry  # or the buffer holds one more than it says
    finally:
        stopped.set()
        room.release()
        thread.join(1)  # no longer, or a stalled disk would keep a run that was asked to stop


def _part(batch_size: int, process: int, processes: int) -> slice:
    if batch_size < 1 or batch_size % processes:
        raise ValueError(f"batch_size {batch_size} must be a positive multiple of the {processes} processes")
    share = batch_size // processes
    return slice(process * share, (process + 1) * share)


def _read(source: Source, indices: np.ndarray, keys: Keys | None = None) -> Example:
    real = (indices >= 0).astype(np.float32)
    batch = source.batch(np.maximum(indices, 0), keys)
    return batch | {INDEX: indices.astype(np.int32), VALID: real * batch.get(VALID, real)}
