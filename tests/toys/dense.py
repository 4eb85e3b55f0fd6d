"""A class for every pixel: which of two bright squares it belongs to.

Reproduces: nothing.
Command: python launch.py train dense.py
Time: seconds.
Expected: little.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.batch import Batch, zeros
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import IGNORED, VALID, Spec, named
from cnn_jax.data.splits import array_splits
from cnn_jax.evals.evaluator import Evaluator, Score, Scores
from cnn_jax.ops.batch_axis import mean_over_devices
from cnn_jax.tasks.task import Sums, Task, Variables
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant


def squares() -> Splits:
    """Grey images 8 x 8 with one square of each of two kinds; the border of the map does not count."""

    def made(seed: int, count: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(seed)
        images = draw.integers(60, size=(count, 8, 8, 1))
        maps = np.zeros((count, 8, 8), np.uint8)
        for image, target in zip(images, maps, strict=True):
            for kind, left in ((1, 1), (2, 5)):
                top = int(draw.integers(1, 5))
                image[top : top + 3, left : left + 2] += 80 * kind
                target[top : top + 3, left : left + 2] = kind
        maps[:, 0] = IGNORED
        return {"picture": images.astype(np.uint8), "where": maps}

    return array_splits(
        "squares",
        {"train": made(0, 64), "validation": made(1, 20), "test": made(2, 30)},
        ImagePrepare(),
        inputs={"picture": "image"},
        targets={"where": "class_map"},
        classes=("nothing", "dim", "bright"),
        licence="",
        citation="",
    )


class Net(nn.Module):
    classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        features = nn.relu(nn.Conv(8, (3, 3), dtype=self.dtype)(x))
        return nn.Conv(self.classes, (1, 1))(features), {"features": features}


def dense(model: nn.Module, spec: Spec) -> Task:
    """The class of each pixel."""
    source, target = next(iter(spec.inputs)), named(spec.targets, "class_map")
    classes = len(spec.classes)

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[source], train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        logits, _ = model.apply(variables, batch.scaled()[source], train=train)
        truth = batch[target].astype(jnp.int32)
        counts = (truth != IGNORED) * batch[VALID][:, None, None]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(counts > 0, truth, 0)) * counts
        total, count = losses.sum(), counts.sum()
        right = ((logits.argmax(-1) == truth) * counts).sum()
        state = {name: value for name, value in variables.items() if name != "params"}
        mean = total / jnp.maximum(mean_over_devices(count), 1)
        return mean, state, {"loss": (total, count), "accuracy": (right, count)}

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = model.apply(variables, batch.scaled()[source], train=False)
        return {"map": logits.argmax(-1).astype(jnp.uint8)}

    def add(pairs: np.ndarray, outputs: Any, batch: Any) -> np.ndarray:
        truth, said = batch[target].ravel().astype(int), outputs["map"].ravel().astype(int)
        kept = truth != IGNORED
        return pairs + np.bincount(truth[kept] * classes + said[kept], minlength=classes**2).reshape(classes, classes)

    def finish(pairs: np.ndarray) -> Scores:
        both = np.diag(pairs)
        iou = both / np.maximum(pairs.sum(0) + pairs.sum(1) - both, 1)
        return Scores({"mean_iou": Score(float(iou.mean()))}, {"pairs": pairs, "iou": iou})

    scored = Evaluator(lambda: np.zeros((classes, classes), np.int64), add, lambda a, b: a + b, finish)
    return Task(init, loss, predict, scored, headline="mean_iou", report="toys.dense_report")


def experiment() -> Experiment:
    return Experiment(
        name="dense",
        data=Data(source=squares, batch_size=16),
        model=Model(build=Net, task=dense),
        optim=Optim(build=sgd, lr=0.2, schedule=constant),
        augment=compose(flip, shift),
        duration="8 steps",
        evaluate=Evaluate(every="4 steps", batch_size=16),
        save_every="2 steps",
        log_every="3 steps",
        compute=Compute(devices=2),
    )
