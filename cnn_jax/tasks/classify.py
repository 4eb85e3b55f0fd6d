"""Classification: one label per image, signal or text."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax.augment.draw import MIX_WEIGHT, MIXED
from cnn_jax.augment.mix import mixed_texts
from cnn_jax.batch import Batch, normalised, zeros
from cnn_jax.data.spec import VALID, Spec, named
from cnn_jax.evals import classification
from cnn_jax.ops.batch_axis import divisor
from cnn_jax.tasks.task import Sums, Task, Variables


def classify(
    model: nn.Module,
    spec: Spec,
    *,
    label_smoothing: float = 0.0,
    class_weights: tuple[float, ...] = (),
    flip_test: bool = False,
    shift_test: int = 0,
) -> Task:
    """The task of naming the class of an example.

    Args:
      model: returns (logits [B, classes], features).
      spec: of the data, with one input and one target of the role "label"; examples with label -1 do not count.
      label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, section 7).
      class_weights: what an example of each class counts in the loss of training, in the order of the classes; () = all
        alike. The loss stays a sum over the examples of a batch by their number, so that weights whose mean over the
        training examples is 1 keep its scale. Of a mixed image each share counts by its own class. Validation loss and
        scores count every example alike.
      flip_test: predict with the mean of the logits of an image and its mirror image.
      shift_test: pixels by which an image is also shifted, down right and up left, its own logits counting half and
        those of the two shifted images a quarter each (Jordan 2024, arXiv:2404.00498, section 3.5).
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing = {label_smoothing} must be at least 0 and below 1")
    source, target = next(iter(spec.inputs)), named(spec.targets, "label")
    classes = len(spec.classes)
    if class_weights and len(class_weights) != classes:
        raise ValueError(f"class_weights has {len(class_weights)} numbers, there are {classes} classes: give each one")
    if not all(isinstance(weight, int | float) and 0 < weight < math.inf for weight in class_weights):
        raise ValueError(f"class_weights = {class_weights} must be positive numbers")
    if (flip_test or shift_test) and spec.input.role != "image":
        raise ValueError(
            f"flip_test and shift_test are for images; the data has inputs of the role '{spec.input.role}'"
        )

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[source], train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        state = [name for name in variables if name != "params"]
        (logits, _), new_state = model.apply(
            variables,
            normalised(batch.scaled()[source], spec.prepare),
            train=train,
            **mixed_texts(batch, source),
            rngs={"dropout": key},
            mutable=state if train else [],
        )
        losses = optax.softmax_cross_entropy(logits, targets(batch, weighted=train and bool(class_weights)))
        known = batch[VALID] * (batch[target] >= 0)
        count = known.sum()
        total = (losses * known).sum()
        sums = {"loss": (total, count), "top1": (((logits.argmax(-1) == batch[target]) * known).sum(), count)}
        # Over all devices: a batch's parts may hold different numbers of real examples.
        return total / divisor(count), new_state, sums

    def targets(batch: Batch, weighted: bool) -> jax.Array:
        one_hot = jax.nn.one_hot(batch[target], classes, dtype=jnp.float32)
        if MIX_WEIGHT in batch:
            weight = batch[MIX_WEIGHT][:, None]
            one_hot = (1 - weight) * one_hot + weight * jax.nn.one_hot(
                batch[f"{MIXED}{target}"], classes, dtype=jnp.float32
            )
        if weighted:  # the sum of a row is then the weight of the example, which smoothing keeps
            one_hot *= jnp.asarray(class_weights, jnp.float32)
            return (1 - label_smoothing) * one_hot + label_smoothing / classes * one_hot.sum(-1, keepdims=True)
        return optax.smooth_labels(one_hot, label_smoothing)

    def logits_of(variables: Variables, inputs: jax.Array) -> jax.Array:
        logits, _ = model.apply(variables, normalised(inputs, spec.prepare), train=False)
        if flip_test:
            mirrored, _ = model.apply(variables, normalised(jnp.flip(inputs, -2), spec.prepare), train=False)
            logits = (logits + mirrored) / 2
        return logits

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        inputs = batch.scaled()[source]
        logits = logits_of(variables, inputs)
        if shift_test:
            shifted = [logits_of(variables, _shifted(inputs, pixels)) for pixels in (shift_test, -shift_test)]
            logits = logits / 2 + sum(shifted) / 4
        return {"logits": logits}

    scored = classification.evaluator(spec.classes, label=target)
    return Task(init, loss, predict, scored, headline="top1", report="classify")


def _shifted(images: jax.Array, pixels: int) -> jax.Array:
    """Images [B, H, W, C] moved down and right (for negative `pixels` up and left), zeros moving in."""
    _, height, width, _ = images.shape
    low, high = max(pixels, 0), max(-pixels, 0)
    padded = jnp.pad(images, ((0, 0), (low, high), (low, high), (0, 0)))
    return padded[:, high : high + height, high : high + width]
