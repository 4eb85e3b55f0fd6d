"""Classification: one label per image, signal or text."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.data.source import Spec
from cnn_jax.evals import bootstrap, classification
from cnn_jax.ops.batch_axis import mean_over_devices
from cnn_jax.ops.unit_range import unit_range
from cnn_jax.tasks.task import Batch, Task, Variables


def classify(
    model: nn.Module, spec: Spec, *, label_smoothing: float = 0.0, flip_test: bool = False, shift_test: int = 0
) -> Task:
    """The task of naming the class of an example.

    Args:
      model: returns (logits [B, classes], features).
      spec: of the data: shape, channel statistics, class names.
      label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, section 7).
      flip_test: predict with the mean of the logits of an image and its mirror image.
      shift_test: pixels by which an image is also shifted, down right and up left, its own logits counting half and
        those of the two shifted images a quarter each (Jordan 2024, arXiv:2404.00498, section 3.5).
    """
    mean, std = jnp.asarray(spec.mean, jnp.float32), jnp.asarray(spec.std, jnp.float32)

    def init(key: jax.Array) -> Variables:
        return model.init(key, jnp.zeros((1, *spec.shape)), train=False)

    def loss(
        variables: Variables, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
        state = [name for name in variables if name != "params"]
        (logits, _), new_state = model.apply(
            variables,
            (unit_range(batch)["image"] - mean) / std,
            train=train,
            rngs={"dropout": key},
            mutable=state if train else [],
        )
        losses = optax.softmax_cross_entropy(logits, targets(batch))
        mask = batch["mask"]
        count = mask.sum()
        sums = {
            "loss": (losses * mask).sum(),
            "top1": ((logits.argmax(-1) == batch["label"]) * mask).sum(),
            "count": count,
        }
        # Over all devices: a batch's parts may hold different numbers of real examples.
        return sums["loss"] / jnp.maximum(mean_over_devices(count), 1), new_state, sums

    def targets(batch: Batch) -> jax.Array:
        target = jax.nn.one_hot(batch["label"], len(spec.classes))
        if "mix_label" in batch:
            weight = batch["mix_weight"][:, None]
            target = (1 - weight) * target + weight * jax.nn.one_hot(batch["mix_label"], len(spec.classes))
        return optax.smooth_labels(target, label_smoothing)

    def logits_of(variables: Variables, images: jax.Array) -> jax.Array:
        logits, _ = model.apply(variables, (images - mean) / std, train=False)
        if flip_test:
            mirrored, _ = model.apply(variables, (jnp.flip(images, -2) - mean) / std, train=False)
            logits = (logits + mirrored) / 2
        return logits

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        images = unit_range(batch)["image"]
        logits = logits_of(variables, images)
        if shift_test:
            shifted = [logits_of(variables, _shifted(images, pixels)) for pixels in (shift_test, -shift_test)]
            logits = logits / 2 + sum(shifted) / 4
        return {"logits": logits}

    def scores(outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, Any]:
        logits = outputs["logits"]
        return {
            **classification.scores(logits, labels, spec.classes),
            "interval95": bootstrap.intervals(logits, labels),
            "confusion": classification.confusion_matrix(logits, labels).tolist(),
        }

    return Task(init, loss, predict, scores, headline="top1", kind="classify")


def _shifted(images: jax.Array, pixels: int) -> jax.Array:
    """Images [B, H, W, C] moved down and right (for negative `pixels` up and left), zeros moving in."""
    _, height, width, _ = images.shape
    low, high = max(pixels, 0), max(-pixels, 0)
    padded = jnp.pad(images, ((0, 0), (low, high), (low, high), (0, 0)))
    return padded[:, high : high + height, high : high + width]
