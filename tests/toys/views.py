"""Two views of each image, a teacher that follows slowly, and a queue of what it said (He et al. 2020, MoCo).

Reproduces: nothing.
Command: python launch.py train views.py
Time: seconds.
Expected: little.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.augment.geometry import shift
from cnn_jax.augment.views import two_views
from cnn_jax.batch import Batch, zeros
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.data.spec import VALID, Spec
from cnn_jax.evals.evaluator import Evaluator, Score, Scores
from cnn_jax.ops.batch_axis import gather_over_devices, mean_over_devices
from cnn_jax.tasks.task import Sums, Task, Variables
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant

QUEUE, WIDTH = 32, 8


class Encoder(nn.Module):
    """The backbone, and the projection that only this task uses."""

    classes: int
    dtype: Any

    def setup(self) -> None:
        self.backbone = Backbone()
        self.projection = nn.Dense(WIDTH)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.projection(self.backbone(x, train=train))
        return y / jnp.linalg.norm(y, axis=-1, keepdims=True)


class Backbone(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.relu(nn.Dense(16, name="hidden")(x.reshape(len(x), -1)))


class Probe(nn.Module):
    """The same backbone with a classifier: what a probe trains."""

    classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        features = nn.relu(nn.Dense(16, name="hidden")(x.reshape(len(x), -1)))
        return nn.Dense(self.classes, name="classifier")(features), {"features": features}


def views(model: nn.Module, spec: Spec, *, momentum: float = 0.9, temperature: float = 0.2) -> Task:
    """Each image is to be told by its second view from all that the teacher saw before."""
    source = next(iter(spec.inputs))

    def init(key: jax.Array) -> Variables:
        variables = model.init(key, zeros(spec.inputs)[source], train=False)
        queue = jax.random.normal(key, (QUEUE, WIDTH))
        return {**variables, "teacher": variables, "queue": {"rows": queue, "next": jnp.int32(0)}}

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        seen = batch.scaled()
        teacher, queue = variables["teacher"], variables["queue"]
        asked = model.apply({"params": variables["params"]}, seen[source], train=train)
        second = seen.arrays.get(f"second_{source}", seen[source])
        keys = jax.lax.stop_gradient(model.apply(teacher, second, train=False))
        right = (asked * keys).sum(-1, keepdims=True)
        logits = jnp.concatenate([right, asked @ queue["rows"].T], -1) / temperature
        losses = -jax.nn.log_softmax(logits)[:, 0] * batch[VALID]
        total, count = losses.sum(), batch[VALID].sum()
        state = {name: value for name, value in variables.items() if name != "params"}
        if train:
            rows = gather_over_devices(keys)
            place = (queue["next"] + jnp.arange(len(rows))) % QUEUE
            state["queue"] = {"rows": queue["rows"].at[place].set(rows), "next": (queue["next"] + len(rows)) % QUEUE}
            state["teacher"] = jax.tree.map(
                lambda t, s: momentum * t + (1 - momentum) * s, teacher, {"params": variables["params"]}
            )
            state = jax.lax.stop_gradient(state)
        return total / jnp.maximum(mean_over_devices(count), 1), state, {"loss": (total, count)}

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        return {"embedding": model.apply({"params": variables["params"]}, batch.scaled()[source], train=False)}

    def add(totals: np.ndarray, outputs: Any, batch: Any) -> np.ndarray:
        found = outputs["embedding"].astype(np.float64)
        return totals + np.stack([found.sum(0), (found**2).sum(0), np.full(WIDTH, len(found))])

    def finish(totals: np.ndarray) -> Scores:
        mean, square = totals[0] / totals[2], totals[1] / totals[2]
        return Scores({"spread": Score(float(np.sqrt(np.maximum(square - mean**2, 0)).mean()))}, {})

    scored = Evaluator(lambda: np.zeros((3, WIDTH)), add, lambda a, b: a + b, finish)
    return Task(init, loss, predict, scored, "spread", "toys.views_report", whole_batch=True)


def experiment() -> Experiment:
    return Experiment(
        name="views",
        data=Data(source=digits, validation=0.1, batch_size=16),
        model=Model(build=Encoder, task=views),
        optim=Optim(build=sgd, lr=0.05, schedule=constant, ema=0.9),
        augment=partial(two_views, second=partial(shift, pixels=1)),
        duration="8 steps",
        evaluate=Evaluate(every="4 steps", batch_size=64),
        save_every="2 steps",
        log_every="3 steps",
        compute=Compute(devices=2),
    )
