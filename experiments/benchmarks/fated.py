"""A small training that meets a fate, as environment variables say: what `chaos.py` and `processes.py` train.

Some of its batches hold nan, so that their updates are skipped. READING: seconds that each batch takes to read. ADDING:
seconds for each batch of an evaluation. FATE: what happens to the process FATE_RANK (default: 0) when it reads the 25th
batch: it "raises" a ValueError, "fails" as a disk does, "ends" its thread without a word, or "hangs".
"""

import os
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import processes
from cnn_jax.augment.draw import per_image, uniform
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.batch import Batch
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.data.source import Example, Source, Splits
from cnn_jax.data.spec import Spec
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks import classify
from cnn_jax.tasks.task import Task
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant

STEPS = 60
AT = 25  # batches that are read before the fate comes


class Fated:
    """A source that is read slowly, and at some time no more."""

    def __init__(self, source: Source) -> None:
        self.source, self.spec, self.read = source, source.spec, 0

    def __len__(self) -> int:
        return len(self.source)

    def strata(self) -> np.ndarray:
        """The classes."""
        return self.source.strata()  # type: ignore[attr-defined]

    def batch(self, indices: np.ndarray, keys: np.ndarray | None = None) -> Example:
        """Reads, unless the time has come."""
        self.read += 1
        time.sleep(float(os.environ.get("READING", 0)))
        if self.read == AT and os.environ.get("FATE_RANK", "0") == str(processes.index()):
            fate = os.environ.get("FATE")
            if fate == "raises":
                raise ValueError(f"batch {AT} cannot be read")
            if fate == "fails":
                raise OSError(5, "Input/output error")
            if fate == "ends":
                raise SystemExit
            if fate == "hangs":
                time.sleep(1000)
        return self.source.batch(indices, keys)


def fated() -> Splits:
    """The digits."""
    splits = digits()
    return {**splits, "train": Fated(splits["train"])}


def poisoned(keys: jax.Array, batch: Batch) -> Batch:
    """Here and there a picture of nan."""
    batch = shift(keys, flip(keys, batch), pixels=1)
    return batch.scaled().map(lambda image: jnp.where(per_image(uniform(keys) < 1 / 500), jnp.nan, image), "image")


def slow(model: object, spec: Spec) -> Task:
    """The task whose evaluation takes time."""
    task = classify.classify(model, spec)  # type: ignore[arg-type]

    def add(*args: object) -> object:
        time.sleep(float(os.environ.get("ADDING", 0)))
        return task.evaluator.add(*args)

    return task._replace(evaluator=task.evaluator._replace(add=add))


def experiment() -> Experiment:
    """Its rows and its checkpoints do not come together; at a constant rate a longer run is one that was so long."""
    return Experiment(
        name="fated",
        data=Data(source=fated, batch_size=32, validation=0.2),
        model=Model(build=partial(small_cnn, features=(8, 16), hidden=128, dropout=0.2), task=slow),
        optim=Optim(build=sgd, lr=0.05, schedule=constant, warmup="4 steps", ema=0.9),
        augment=poisoned,
        duration=f"{STEPS} steps",
        save_every="5 steps",
        log_every="4 steps",
        evaluate=Evaluate(every="10 steps", batch_size=16, patience=5),
    )
