"""One step, however it is compiled: the same numbers on one device and on eight, by jit, fsdp and pmap."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from cnn_jax.augment.compose import compose
from cnn_jax.augment.erase import cutout
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.augment.mix import mixup
from cnn_jax.config import Experiment
from cnn_jax.data.batches import training_batch
from cnn_jax.data.source import ArraySource
from cnn_jax.tasks.classify import classify
from cnn_jax.train import mesh
from cnn_jax.train.run import assemble, fresh
from cnn_jax.train.state import Tree

STEPS = 20


@pytest.fixture
def everything(config: Experiment) -> Experiment:
    """Whatever might depend on the device that an example is on, switched on at once."""
    config.model.task = partial(classify, class_weights=(0.3, 0.7, 1.2, 2.5), label_smoothing=0.1)
    config.augment = compose(flip, partial(shift, pixels=1), partial(cutout, size=2), mixup)
    config.optim.ema, config.optim.clip, config.optim.weight_decay = 0.9, 1.0, 1e-3
    return config


def train(config: Experiment, source: ArraySource, steps: int = STEPS) -> tuple[list[float], Tree]:
    """The mean loss of each step, and the state after them on the host."""
    run = assemble(config, source.spec, len(source))
    state, losses = fresh(run), []
    for step in range(steps):
        batch = run.engine.place_batch(training_batch(source, config.seed, step, config.data.batch_size))
        state, fetch = run.engine.step(state, batch)
        total, count = fetch()["loss"]
        losses.append(total / count)
    return losses, jax.tree.map(np.asarray, run.engine.whole(state))


def with_compute(config: Experiment, parallel: str, devices: int) -> Experiment:
    return dataclasses.replace(config, compute=dataclasses.replace(config.compute, parallel=parallel, devices=devices))


def test_jit_fsdp_and_pmap_on_eight_devices_equal_one_device(everything: Experiment, source: ArraySource) -> None:
    expected_losses, expected = train(everything, source)
    assert expected_losses[-1] < 0.9 * expected_losses[0]  # it learns, so the losses are about more than the start
    for parallel in ("jit", "fsdp", "pmap"):
        losses, state = train(with_compute(everything, parallel, 8), source)
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-5, err_msg=parallel)
        for part in ("params", "model_state", "opt_state", "ema"):
            jax.tree.map(
                partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), getattr(state, part), getattr(expected, part)
            )
        assert state.step == STEPS and state.skipped == 0


def test_parts_of_a_batch_are_the_same_by_pmap_as_on_one_device(config: Experiment, source: ArraySource) -> None:
    config.optim.accumulate = 2
    expected, _ = train(config, source, 4)
    np.testing.assert_allclose(train(with_compute(config, "pmap", 4), source, 4)[0], expected, rtol=1e-5)


def test_fsdp_shards_large_arrays_and_their_momentum_and_average(everything: Experiment, source: ArraySource) -> None:
    run = assemble(with_compute(everything, "fsdp", 8), source.spec, len(source))
    state = fresh(run)
    for _ in range(2):  # a step must leave it so
        trees = (state.params, jax.tree.leaves(state.opt_state), state.ema["params"])
        shards = [{a.addressable_shards[0].data.size for a in jax.tree.leaves(t) if a.size >= 1024} for t in trees]
        assert shards == [{1152 // 8, 1024 // 8}] * 3
        assert all(a.sharding.is_fully_replicated for a in jax.tree.leaves(state.params) if a.size < 1024)
        state, _ = run.engine.step(state, run.engine.place_batch(training_batch(source, 0, 0, 16)))


def test_an_array_is_sharded_along_its_largest_dimension_that_the_devices_divide() -> None:
    devices = mesh.Mesh(np.asarray(jax.devices()), ("batch",))
    shapes = {(64, 48): (0,), (60, 48): (1,), (3, 3, 40, 1000): (3,), (1001, 3): None, (8, 8): None, (): None}
    for shape, axis in shapes.items():
        expected = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis[0], "batch")
        assert mesh._sharding(jax.ShapeDtypeStruct(shape, np.float32), devices).spec == expected


def test_choose_devices_takes_the_most_that_give_each_an_even_share() -> None:
    counts = {16: 8, 32: 8, 12: 6, 8: 4, 2: 1, 7: 1, 14: 7, 1: 1}
    for batch_size, count in counts.items():
        assert len(mesh.choose_devices(0, batch_size)) == count
    assert len(mesh.choose_devices(0, 32, accumulate=4)) == 4
    assert len(mesh.choose_devices(8, 8)) == 8  # what is asked for is given


def test_choose_devices_says_what_would_fit() -> None:
    with pytest.raises(ValueError, match="compute.devices = 9, but there are 8 cpu devices: ask for at most 8"):
        mesh.choose_devices(9, 18)
    with pytest.raises(ValueError, match="does not divide over 3 devices: use a multiple of 3, as 18$"):
        mesh.choose_devices(3, 16)
    with pytest.raises(ValueError, match="in 2 parts does not divide over 3 devices: use a multiple of 6, as 18$"):
        mesh.choose_devices(3, 16, accumulate=2)
