import collections
import gc
import itertools
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.data.batches import bucket_of, evaluation_batches, prefetch, training_batch, training_indices
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource, View
from cnn_jax.data.spec import INDEX, VALID
from cnn_jax.data.splits import array_splits


def toy(size: int):
    images = np.arange(size, dtype=np.uint8).reshape(size, 1, 1, 1)
    arrays = {"train": {"image": images, "label": np.arange(size) % 2}}
    roles = {"inputs": {"image": "image"}, "targets": {"label": "label"}}
    return array_splits("toy", arrays, ImagePrepare(), **roles, classes=["a", "b"], licence="", citation="")["train"]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**40))
def test_every_example_once_per_epoch(size, batch_size, seed):
    steps = 3 * size // batch_size + 2
    stream = np.concatenate([training_indices(seed, s, batch_size=batch_size, size=size) for s in range(steps)])
    assert len(stream) == steps * batch_size
    for epoch in range(3):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 1000), st.integers(0, 10**7))
def test_indices_are_a_pure_function_of_seed_and_step(size, batch_size, seed, step):
    first = training_indices(seed, step, batch_size=batch_size, size=size).copy()
    training_indices(seed + 1, 0, batch_size=7, size=size + 3)
    np.testing.assert_array_equal(first, training_indices(seed, step, batch_size=batch_size, size=size))


def test_the_stream_does_not_depend_on_the_batch_size():
    stream = [
        np.concatenate([training_indices(5, s, batch_size=b, size=11) for s in range(60 // b)]) for b in (2, 5, 60)
    ]
    np.testing.assert_array_equal(stream[0], stream[1])
    np.testing.assert_array_equal(stream[0], stream[2])


def test_epochs_and_seeds_differ():
    order = [tuple(training_indices(seed, step, batch_size=50, size=50)) for seed in range(3) for step in range(3)]
    assert len(set(order)) == 9


@pytest.mark.parametrize("bad", [(-1, 0, 4, 4), (0, -1, 4, 4), (0, 0, 0, 4), (0, 0, 4, 0)])
def test_bad_steps_are_refused(bad):
    seed, step, batch_size, size = bad
    with pytest.raises(ValueError, match="need seed, step >= 0"):
        training_indices(seed, step, batch_size=batch_size, size=size)


def test_training_batch_holds_what_its_indices_say():
    source = toy(10)
    batch = training_batch(source, 1, 4, 8)
    np.testing.assert_array_equal(batch["image"].ravel(), batch[INDEX])
    np.testing.assert_array_equal(batch["label"], batch[INDEX] % 2)
    np.testing.assert_array_equal(batch[VALID], np.ones(8))
    assert [batch[key].dtype for key in ("image", "label", INDEX, VALID)] == ["uint8", "int32", "int32", "float32"]
    assert batch.keys() == {*source.spec.fields, INDEX, VALID}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_the_same_global_batches(processes):
    source = toy(10)
    parts = [training_batch(source, 1, 2, 8, process=p, processes=processes)[INDEX] for p in range(processes)]
    np.testing.assert_array_equal(np.concatenate(parts), training_batch(source, 1, 2, 8)[INDEX])
    shared = [list(evaluation_batches(source, 8, process=p, processes=processes)) for p in range(processes)]
    whole = list(evaluation_batches(source, 8))
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[step][key] for part in shared]), value)


def test_batch_must_divide_among_processes():
    with pytest.raises(ValueError, match="multiple of the 3 processes"):
        training_batch(toy(10), 0, 0, 8, processes=3)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 16, 23])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 30])
def test_evaluation_visits_every_example_once(size, batch_size):
    batches = list(evaluation_batches(toy(size), batch_size))
    assert {len(value) for batch in batches for value in batch.values()} == {batch_size}
    index, valid, image = (np.concatenate([batch[key] for batch in batches]) for key in (INDEX, VALID, "image"))
    np.testing.assert_array_equal(index[valid == 1], np.arange(size))
    np.testing.assert_array_equal(index[valid == 0], -1)
    np.testing.assert_array_equal(image.ravel(), np.where(valid == 1, index, 0))
    assert len(index) - size < batch_size


def test_prefetch_keeps_order_and_ends():
    assert list(prefetch(range(100))) == list(range(100))
    assert list(prefetch([])) == []
    with pytest.raises(ValueError, match="depth must be at least 1"):
        prefetch([1], depth=0)


def test_prefetch_raises_in_its_place():
    def broken():
        yield 1
        yield 2
        raise KeyError("lost")

    got = []
    with pytest.raises(KeyError, match="lost"):
        for item in prefetch(broken()):
            got.append(item)
    assert got == [1, 2]
    assert not prefetching()


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_prefetch_is_bounded_and_stops_with_its_consumer(depth):
    made = []
    items = prefetch((made.append(i) or i for i in itertools.count()), depth)
    for _ in range(4):
        next(items)
    wait(lambda: len(made) >= 4 + depth)
    time.sleep(0.05)
    assert len(made) == 4 + depth
    items.close()
    assert not prefetching()
    assert len(made) == 4 + depth


def test_a_dropped_prefetch_ends_its_thread():
    items = prefetch(itertools.count())
    next(items)
    assert prefetching()
    del items
    gc.collect()
    assert not prefetching()


def test_prefetch_works_ahead():
    started = threading.Event()

    def items():
        yield 0
        started.set()
        yield 1

    ahead = prefetch(items())
    assert next(ahead) == 0
    assert started.wait(5)  # although item 1 was not asked for
    assert list(ahead) == [1]


def test_prefetch_holds_no_item_longer_than_the_buffer():
    class Item:
        pass

    alive = weakref.WeakSet()

    def items():
        for _ in range(50):
            item = Item()
            alive.add(item)
            yield item
            del item

    most = 0
    for _ in prefetch(items(), depth=2):
        most = max(most, len(alive))
    assert most <= 5  # two waiting, one at each end, one in the hand of the producer


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch" and thread.is_alive()]


def wait(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_without_shuffle_the_order_is_that_of_the_split() -> None:
    epoch = [training_indices(7, step, batch_size=4, size=10, shuffle=False).tolist() for step in range(5)]
    assert sum(epoch, []) == 2 * list(range(10))


class Drawing(ArraySource):
    """A source that draws while it reads: its images are the keys."""

    def batch(self, indices, keys=None):
        drawn = np.zeros(len(indices), np.uint64) if keys is None else keys
        return {"image": drawn, "label": self.arrays["label"][indices]}


def drawing(size: int) -> Drawing:
    return Drawing(toy(size).arrays, toy(size).spec)


def visits(batch_size: int, steps: int, seed: int = 4, **shared) -> list[tuple[int, int]]:
    """(example, key) of each visit, in order."""
    batches = [training_batch(drawing(7), seed, step, batch_size, **shared) for step in range(steps)]
    return [(int(i), int(k)) for batch in batches for i, k in zip(batch[INDEX], batch["image"], strict=True)]


def test_what_is_drawn_hangs_on_seed_epoch_and_example_alone():
    stream = visits(4, 21)
    assert stream == visits(2, 42) == visits(28, 3) == visits(84, 1)  # whatever the batch size
    assert len(set(stream)) == len(dict(stream)) * 12 == 84  # no two epochs alike
    assert not set(stream) & set(visits(4, 21, seed=5))
    halves = [visits(4, 21, process=p, processes=2) for p in range(2)]
    assert sorted(sum(halves, [])) == sorted(stream)
    plain = visits(4, 21, shuffle=False)
    assert [i for i, _ in plain] == 12 * list(range(7)) and len(set(plain)) == 84


def test_a_resumed_run_draws_what_it_would_have_drawn():
    whole = visits(5, 12)
    again = [training_batch(drawing(7), 4, step, 5) for step in range(6, 12)]
    assert [int(key) for batch in again for key in batch["image"]] == [key for _, key in whole[30:]]


def test_evaluation_draws_nothing():
    for batch in evaluation_batches(drawing(7), 3):
        assert not batch["image"].any()


SIZES = (7, 3, 20)  # of three buckets


@pytest.mark.parametrize("batch_size", [2, 4, 16])
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_bucket_has_its_share_of_the_steps_and_each_of_its_examples_its_turn(batch_size, shuffle):
    steps = 400
    found = [bucket_of(5, step, batch_size=batch_size, sizes=SIZES, shuffle=shuffle) for step in range(steps)]
    for bucket, size in enumerate(SIZES):
        before = [count for chosen, count in found if chosen == bucket]
        assert before == list(range(len(before)))  # so its batches lie end to end
        share = size / sum(SIZES)
        seen = np.cumsum([chosen == bucket for chosen, _ in found])
        a_round = sum(SIZES) / batch_size + len(SIZES)
        assert np.abs(seen - share * np.arange(1, steps + 1)).max() <= a_round
    other = [bucket_of(6, step, batch_size=batch_size, sizes=SIZES, shuffle=shuffle) for step in range(steps)]
    assert (other != found) == shuffle


class Pictures:
    """Examples of three shapes: the index of each fills its own. They may not be mixed."""

    spec = None
    kinds = np.random.default_rng(0).permutation(np.repeat(range(3), SIZES))

    def __len__(self):
        return len(self.kinds)

    def buckets(self):
        return self.kinds

    def batch(self, indices, keys=None):
        (kind,) = set(self.kinds[indices].tolist())
        drawn = {} if keys is None else {"key": keys}
        return {"image": np.broadcast_to(indices[:, None], (len(indices), kind + 1)), **drawn}


def test_training_batches_are_of_one_bucket_and_of_all_processes_alike():
    source, visits, keys = Pictures(), collections.Counter(), set()
    for step in range(60):
        batch = training_batch(source, 0, step, 4)
        parts = [training_batch(source, 0, step, 4, process=process, processes=2) for process in range(2)]
        np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), batch["image"])
        assert (batch["image"] == batch[INDEX][:, None]).all()
        visits.update(batch[INDEX].tolist())
        keys |= set(batch["key"].tolist())
    assert set(visits) == set(range(30)) and max(visits.values()) - min(visits.values()) <= 3
    assert len(keys) == 240  # another one at each visit
    alone = training_batch(View(source, np.flatnonzero(source.kinds == 1)), 0, 3, 3)
    assert sorted(alone[INDEX].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_visits_each_example_of_all_buckets_once(processes):
    source, seen = Pictures(), []
    for process in range(processes):
        for batch in evaluation_batches(source, 4, process=process, processes=processes):
            real = batch[VALID] > 0
            assert (batch[INDEX] >= 0).tolist() == real.tolist() and len(real) == 4 // processes
            assert (batch["image"][real] == batch[INDEX][real][:, None]).all()
            seen += batch[INDEX][real].tolist()
    assert sorted(seen) == list(range(30))
