"""Scores of a whole split do not depend on how it is cut into batches, nor on the devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import Experiment
from cnn_jax.data.source import ArraySource, Example
from cnn_jax.launch.training import score
from cnn_jax.train.evaluate import predictions
from cnn_jax.train.run import Run, assemble, fresh
from cnn_jax.train.state import State, Tree


def made(config: Experiment, source: ArraySource, parallel: str, devices: int) -> tuple[Run, Tree]:
    """A run and its variables, with running statistics that are not those of a fresh model."""
    config.compute.parallel, config.compute.devices = parallel, devices
    run = assemble(config, source.spec, len(source))

    def moved(state: State) -> State:
        noise = np.random.default_rng(1)
        stats = jax.tree.map(lambda a: a + jnp.asarray(noise.uniform(0.1, 1, a.shape), a.dtype), state.model_state)
        return state.replace(model_state=stats)

    config.compute.parallel, config.compute.devices = "jit", 1
    alone = assemble(config, source.spec, len(source))
    state = jax.tree.map(np.asarray, moved(fresh(alone)))
    return run, run.engine.variables(run.engine.place(state))


def test_scores_are_the_same_for_any_batch_size_and_any_devices(config: Experiment, source: ArraySource) -> None:
    config.data.eval_batch_size = 80
    run, variables = made(config, source, "jit", 1)
    expected, whole = score(run, variables, source)
    assert 0 < expected["top1"] < 1
    ways = [("jit", 1, (7, 1000)), ("jit", 8, (1, 33)), ("fsdp", 4, (12,)), ("pmap", 2, (79,))]
    for parallel, devices, sizes in ways:
        run, variables = made(config, source, parallel, devices)
        for size in sizes:
            config.data.eval_batch_size = size
            scores, found = score(run, variables, source)
            np.testing.assert_array_equal(found.positions, np.arange(80))
            np.testing.assert_array_equal(found.labels, source.labels)
            np.testing.assert_allclose(found.outputs["logits"], whole.outputs["logits"], rtol=1e-5, atol=1e-5)
            assert scores["confusion"] == expected["confusion"] and scores["top1"] == expected["top1"]
            for name in ("nll", "brier", "ece", "top5"):
                assert scores[name] == pytest.approx(expected[name], rel=1e-5), (name, parallel, size)


@dataclasses.dataclass(eq=False)
class PartlyCorrupt(ArraySource):
    """Every fifth image cannot be decoded."""

    def batch(self, indices: np.ndarray) -> Example:
        good = indices % 5 != 0
        batch = super().batch(indices)
        return {
            **batch,
            "image": np.where(good[:, None, None, None], batch["image"], 0),
            "mask": good.astype(np.float32),
        }


def test_images_that_cannot_be_decoded_are_left_out(config: Experiment, source: ArraySource) -> None:
    run, variables = made(config, source, "jit", 2)
    corrupt = PartlyCorrupt(source.images, source.labels, source.spec)
    found = predictions(run.engine, variables, corrupt, 12)
    whole = predictions(run.engine, variables, source, 12)
    good = np.arange(80) % 5 != 0
    np.testing.assert_array_equal(found.positions, np.flatnonzero(good))
    np.testing.assert_array_equal(found.labels, source.labels[good])
    np.testing.assert_array_equal(found.outputs["logits"], whole.outputs["logits"][good])
