"""Where the one object is: a box.

Reproduces: nothing.
Command: python launch.py train boxes.py
Time: seconds.
Expected: little.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip
from cnn_jax.batch import Batch, zeros
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import INDEX, VALID, Spec, named
from cnn_jax.data.splits import array_splits
from cnn_jax.evals import bootstrap, exact
from cnn_jax.evals.evaluator import Evaluator, Score, Scores
from cnn_jax.ops.batch_axis import mean_over_devices
from cnn_jax.tasks.task import Sums, Task, Variables
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant

MOST = 3  # objects of an image


def scenes() -> Splits:
    """Grey images 12 x 12 with one or two bright boxes."""

    def made(seed: int, count: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(seed)
        images = draw.integers(60, size=(count, 12, 12, 1))
        boxes, labels = np.zeros((count, MOST, 4), np.float32), np.full((count, MOST), -1, np.int32)
        for image, box, label in zip(images, boxes, labels, strict=True):
            for number in range(int(draw.integers(1, 3))):
                left, top = draw.integers(0, 8, size=2)
                wide, tall = draw.integers(2, 5, size=2)
                image[top : top + tall, left : left + wide] += 120
                box[number], label[number] = (left, top, left + wide, top + tall), 0
        return {"picture": images.clip(0, 255).astype(np.uint8), "where": boxes, "what": labels}

    return array_splits(
        "scenes",
        {"train": made(0, 64), "validation": made(1, 20), "test": made(2, 30)},
        ImagePrepare(size=(12, 12), resize="letterbox", channels=1),
        inputs={"picture": "image"},
        targets={"where": "boxes", "what": "box_labels"},
        classes=("box",),
        licence="",
        citation="",
    )


class Net(nn.Module):
    classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(8, (3, 3), 2)(x)))
        return nn.Dense(4)(x.reshape(len(x), -1)), {"features": x}


def hull(batch: Batch, boxes: str, labels: str) -> tuple[jax.Array, jax.Array]:
    """The box [B, 4] around all objects of each image, and whether there are any [B]."""
    real = (batch[labels] >= 0)[..., None]
    low = jnp.where(real, batch[boxes][..., :2], 1e9).min(1)
    high = jnp.where(real, batch[boxes][..., 2:], -1e9).max(1)
    seen = real.any((1, 2))
    return jnp.where(seen[:, None], jnp.concatenate([low, high], -1), 0), seen * batch[VALID]


def boxes(model: nn.Module, spec: Spec) -> Task:
    """The box around all objects."""
    source = next(iter(spec.inputs))
    where, what = named(spec.targets, "boxes"), named(spec.targets, "box_labels")

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[source], train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        said, _ = model.apply(variables, batch.scaled()[source], train=train)
        truth, seen = hull(batch, where, what)
        total, count = (jnp.abs(said - truth / 12).mean(-1) * seen).sum(), seen.sum()
        state = {name: value for name, value in variables.items() if name != "params"}
        return total / jnp.maximum(mean_over_devices(count), 1), state, {"loss": (total, count)}

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        said, _ = model.apply(variables, batch.scaled()[source], train=False)
        return {"boxes": said * 12}

    def start() -> tuple[np.ndarray, np.ndarray, int]:
        return exact.start(1), bootstrap.start(1), 0

    def add(totals: Any, outputs: Any, batch: Any) -> Any:
        real = (batch[what] >= 0)[..., None]
        low = np.where(real, batch[where][..., :2], 1e9).min(1)
        high = np.where(real, batch[where][..., 2:], -1e9).max(1)
        said = outputs["boxes"].astype(np.float64)
        sides = np.clip(np.minimum(high, said[:, 2:]) - np.maximum(low, said[:, :2]), 0, None)
        areas = np.prod(high - low, 1) + np.prod(np.clip(said[:, 2:] - said[:, :2], 0, None), 1)
        iou = (np.prod(sides, 1) / (areas - np.prod(sides, 1)))[:, None]
        sums, resamples, count = totals
        return exact.add(sums, iou), bootstrap.add(resamples, iou, batch[INDEX]), count + len(iou)

    def merge(a: Any, b: Any) -> Any:
        return tuple(left + right for left, right in zip(a, b, strict=True))

    def finish(totals: Any) -> Scores:
        sums, resamples, count = totals
        interval = bootstrap.interval(bootstrap.means(resamples)[:, 0])
        return Scores({"iou": Score(float(exact.sums(sums)[0] / count), *interval)}, {})

    return Task(init, loss, predict, Evaluator(start, add, merge, finish), "iou", "toys.boxes_report")


def experiment() -> Experiment:
    return Experiment(
        name="boxes",
        data=Data(source=scenes, batch_size=16),
        model=Model(build=Net, task=boxes),
        optim=Optim(build=sgd, lr=0.05, schedule=constant, ema=0.9),
        augment=compose(flip),
        duration="8 steps",
        evaluate=Evaluate(every="4 steps", batch_size=16),
        save_every="2 steps",
        log_every="3 steps",
        compute=Compute(devices=2),
    )
