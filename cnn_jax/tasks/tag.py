"""Tagging: which of several labels apply to an image, signal or text; any number of them may."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax.augment.mix import mixed_texts
from cnn_jax.batch import Batch, normalised, zeros
from cnn_jax.data.spec import VALID, Spec, named
from cnn_jax.evals import tagging
from cnn_jax.ops.batch_axis import divisor
from cnn_jax.tasks.task import Sums, Task, Variables


def tag(model: nn.Module, spec: Spec) -> Task:
    """The task of saying of each class whether an example belongs to it.

    The loss is the binary cross-entropy, the mean over the classes of an example.

    Args:
      model: returns (logits [B, classes], features).
      spec: of the data, with one input and one target of the role "labels".
    """
    source, target = next(iter(spec.inputs)), named(spec.targets, "labels")

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[source], train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        state = [name for name in variables if name != "params"]
        (logits, _), new_state = model.apply(
            variables,
            normalised(batch.scaled()[source], spec.prepare),
            train=train,
            rngs={"dropout": key},
            mutable=state if train else [],
            **mixed_texts(batch, source),
        )
        truth = batch[target].astype(jnp.float32)
        valid, count = batch[VALID], batch[VALID].sum()
        total = (optax.sigmoid_binary_cross_entropy(logits, truth).mean(-1) * valid).sum()
        right = (((logits > 0) == (truth > 0.5)).mean(-1) * valid).sum()
        return total / divisor(count), new_state, {"loss": (total, count), "label_accuracy": (right, count)}

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = model.apply(variables, normalised(batch.scaled()[source], spec.prepare), train=False)
        return {"logits": logits}

    scored = tagging.evaluator(spec.classes, labels=target)
    return Task(init, loss, predict, scored, headline="map", report="tag")
