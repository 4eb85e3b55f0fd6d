"""Several labels for each signal: which of three tones are in it.

Reproduces: nothing.
Command: python launch.py train tags.py
Time: seconds.
Expected: little.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.augment.signal import scale1d
from cnn_jax.batch import Batch, zeros
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import VALID, Spec, named
from cnn_jax.data.splits import array_splits
from cnn_jax.evals.evaluator import Evaluator, Score, Scores
from cnn_jax.ops.batch_axis import mean_over_devices
from cnn_jax.tasks.task import Sums, Task, Variables
from cnn_jax.train.optim import adam
from cnn_jax.train.schedules import constant


def tones() -> Splits:
    """Signals of 32 samples, each a sum of some of three sines; no validation split of its own."""

    def made(seed: int, count: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(seed)
        present = draw.integers(2, size=(count, 3))
        waves = np.sin(np.arange(32)[:, None] * np.array([0.2, 0.9, 2.1]))
        signals = (present @ waves.T + 0.1 * draw.normal(size=(count, 32)))[..., None]
        return {"sound": signals.astype(np.float32), "tones": present.astype(np.uint8)}

    return array_splits(
        "tones",
        {"train": made(0, 80), "test": made(2, 30)},
        ImagePrepare(),
        inputs={"sound": "signal"},
        targets={"tones": "labels"},
        classes=("low", "middle", "high"),
        licence="",
        citation="",
    )


class Net(nn.Module):
    classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        features = nn.relu(nn.Dense(16)(x.reshape(len(x), -1)))
        return nn.Dense(self.classes)(features), {"features": features}


def tags(model: nn.Module, spec: Spec) -> Task:
    """Whether each label applies."""
    source, target = next(iter(spec.inputs)), named(spec.targets, "labels")

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[source], train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        logits, _ = model.apply(variables, batch.scaled()[source], train=train)
        truth = batch[target].astype(jnp.float32)
        count = batch[VALID].sum()
        total = (optax.sigmoid_binary_cross_entropy(logits, truth).sum(-1) * batch[VALID]).sum()
        return total / jnp.maximum(mean_over_devices(count), 1), {}, {"loss": (total, count)}

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = model.apply(variables, batch.scaled()[source], train=False)
        return {"probabilities": jax.nn.sigmoid(logits)}

    def add(counts: np.ndarray, outputs: Any, batch: Any) -> np.ndarray:
        said, truth = outputs["probabilities"] > 0.5, batch[target] > 0
        return counts + np.stack([(said & truth).sum(0), said.sum(0), truth.sum(0)])

    def finish(counts: np.ndarray) -> Scores:
        both, said, truth = counts
        f1 = 2 * both / np.maximum(said + truth, 1)
        return Scores({"f1": Score(float(f1.mean()))}, {"counts": counts, "f1": f1})

    scored = Evaluator(lambda: np.zeros((3, len(spec.classes)), np.int64), add, lambda a, b: a + b, finish)
    return Task(init, loss, predict, scored, headline="f1", report="toys.tags_report")


def experiment() -> Experiment:
    return Experiment(
        name="tags",
        data=Data(source=tones, validation=0.2, batch_size=16),
        model=Model(build=Net, task=tags),
        optim=Optim(build=adam, lr=0.01, schedule=constant, accumulate=2),
        augment=scale1d,
        duration="8 steps",
        evaluate=Evaluate(every="4 steps", batch_size=7),
        save_every="2 steps",
        log_every="3 steps",
        compute=Compute(devices=2),
    )
