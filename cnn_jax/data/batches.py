"""Batches of a source: training batches as a pure function of (seed, step), evaluation batches that visit all once.

A batch is the fields of the source plus INDEX [B] int32, the position in the split (-1 for padding), and VALID [B]
float32, 1 for a real example and 0 for padding or an undecodable image. With several processes each takes its own
contiguous slice of every global batch, so the examples of a step do not depend on their number.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from cnn_jax.data.access import started
from cnn_jax.data.keyed import Keys, mixed
from cnn_jax.data.source import Example, Source, buckets, permutation
from cnn_jax.data.spec import INDEX, VALID

T = TypeVar("T")
Begun = Callable[[], Example]  # waits for a batch, which is being read if its source can do so

AHEAD = 1  # that are begun before the one that is waited for is there


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


def bucket_of(seed: int, step: int, *, batch_size: int, sizes: Sequence[int], shuffle: bool = True) -> tuple[int, int]:
    """The bucket from which the batch of training step `step` is drawn, and how many steps had that one before.

    Round r has as many batches of a bucket of n examples as end in it where its batches lie end to end, n / batch_size
    on average; they come in an order keyed by (seed, r). So each bucket has its share of the steps at all times, but
    for one round, and its examples are seen as `training_indices` says.

    sizes: of the buckets, each at least 1.
    """

    def batches(rounds: int) -> list[int]:
        return [rounds * size // batch_size for size in sizes]

    number = step * batch_size // sum(sizes)  # no later one, as rounding makes rounds shorter
    while sum(after := batches(number + 1)) <= step:
        number += 1
    before = batches(number)
    order = np.repeat(np.arange(len(sizes)), np.subtract(after, before))
    if shuffle:
        order = order[permutation(len(order), seed, number, len(sizes))]
    place = step - sum(before)
    bucket = int(order[place])
    return bucket, before[bucket] + int((order[:place] == bucket).sum())


def training_batch(
    source: Source, seed: int, step: int, batch_size: int, *, process: int = 0, processes: int = 1, shuffle: bool = True
) -> Example:
    """The batch of training step `step`, or this process's [batch_size / processes] part of it.

    Of a source with buckets its examples are all of one, see `bucket_of`.
    """
    return begun(source, seed, step, batch_size, process=process, processes=processes, shuffle=shuffle)()


def begun(
    source: Source, seed: int, step: int, batch_size: int, *, process: int = 0, processes: int = 1, shuffle: bool = True
) -> Begun:
    """`training_batch`, as one that is being read: see `in_turn`."""
    members, size = _buckets(source), len(source)
    if members:
        sizes = [len(found) for found in members]
        bucket, step = bucket_of(seed, step, batch_size=batch_size, sizes=sizes, shuffle=shuffle)
        size = sizes[bucket]
    indices = training_indices(seed, step, batch_size=batch_size, size=size, shuffle=shuffle)
    epochs = (step * batch_size + np.arange(batch_size)) // size
    indices = members[bucket][indices] if members else indices
    part = _part(batch_size, process, processes)
    # By the example, not by its place in the batch: what is drawn while reading does not depend on who reads it.
    return _begun(source, indices[part], mixed(seed, epochs[part], indices[part]))


def in_turn(calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each of `calls`, which are begun, waits for, in order, while the next one is under way too.

    So a file that is slow to come holds up no other batch, and a device computes while one is scored.
    """
    waiting = deque[Callable[[], T]]()
    for call in calls:
        waiting.append(call)
        if len(waiting) > AHEAD:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def evaluation_batches(source: Source, batch_size: int, *, process: int = 0, processes: int = 1) -> Iterator[Example]:
    """Every example exactly once, in order; the last batch is padded: example 0, index -1, VALID 0.

    Of a source with buckets one comes after the other, each in order and padded by its first example.
    """
    part = _part(batch_size, process, processes)

    def all_of_them() -> Iterator[Begun]:
        for members in _buckets(source) or [np.arange(len(source))]:
            for start in range(0, len(members), batch_size):
                indices = np.full(batch_size, -1)
                found = members[start : start + batch_size]
                indices[: len(found)] = found
                yield _begun(source, indices[part], padding=int(members[0]))

    return in_turn(all_of_them())


def _buckets(source: Source) -> list[np.ndarray]:
    """The indices of the examples of each bucket that has some; [] where there are no buckets."""
    kinds = buckets(source)
    return [] if kinds is None else [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


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
        except SystemExit:  # which ends a thread without a word, and would end the program as if all were done
            ready.put(ValueError("what reads the data has ended its thread (SystemExit): it must raise an error"))
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


def _begun(source: Source, indices: np.ndarray, keys: Keys | None = None, padding: int = 0) -> Begun:
    real = (indices >= 0).astype(np.float32)
    read = started(source, np.where(indices >= 0, indices, padding), keys)

    def finished() -> Example:
        batch = read()
        return batch | {INDEX: indices.astype(np.int32), VALID: real * batch.get(VALID, real)}

    return finished
