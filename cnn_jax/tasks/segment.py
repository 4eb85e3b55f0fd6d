"""Semantic segmentation: the class of each pixel of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.batch import Batch, normalised, zeros
from cnn_jax.data.spec import IGNORED, VALID, Spec, named
from cnn_jax.evals import segmentation
from cnn_jax.models.segmenter import LOGITS, loss_weights
from cnn_jax.ops.segmentation_losses import Loss, cross_entropy, value
from cnn_jax.ops.sliding_window import averaging
from cnn_jax.tasks.task import Sums, Task, Variables


def segment(
    model: nn.Module,
    spec: Spec,
    *,
    loss: Loss = cross_entropy,
    window: int | Sequence[int] = 0,
    step: float = 0.5,
    flips: str = "none",
    scales: Sequence[float] = (1.0,),
) -> Task:
    """The task of naming the class of each pixel.

    Args:
      model: returns (logits [B, H, W, classes], features), see models/segmenter.py.
      spec: of the data, with one image and one class_map, whose pixels IGNORED do not count.
      loss: of logits and true classes, see ops/segmentation_losses.py; `total(A, B)` adds several. That of validation
        is of the logits that predictions are made of alone.
      window, step, flips, scales: predict by the mean of the logits of windows, mirror images and other sizes, as
        `ops.sliding_window.averaging` says; by default an image is computed once, as a whole.
    """
    image, target = named(spec.inputs, "image"), named(spec.targets, "class_map")
    average = averaging(window=window, step=step, flips=flips, scales=scales)

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[image], train=False)

    def loss_of(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        x, truth = normalised(batch.scaled()[image], spec.prepare), batch[target].astype(jnp.int32)
        new_state: Any = {}
        if train:
            state = [name for name in variables if name != "params"]
            (logits, features), new_state = model.apply(variables, x, train=True, rngs={"dropout": key}, mutable=state)
            check(logits, truth)
            terms = terms_of({**features, LOGITS: logits}, loss_weights(model), truth, batch[VALID])
        else:
            logits = logits_of(variables, x)
            terms = terms_of({LOGITS: logits}, {LOGITS: 1.0}, truth, batch[VALID])
        mean, images = value(terms), batch[VALID].sum()
        known = (truth != IGNORED) * batch[VALID][:, None, None]
        right = ((logits.argmax(-1) == truth) * known).sum(dtype=jnp.float32)
        return mean, new_state, {"loss": (mean * images, images), **terms, "pixel_accuracy": (right, known.sum())}

    def terms_of(
        outputs: Mapping[str, jax.Array], weights: Mapping[str, float], truth: jax.Array, valid: jax.Array
    ) -> Sums:
        terms: Sums = {}
        for name, weight in weights.items():
            coarse = at_size_of(outputs[name], truth)
            counted = ((coarse != IGNORED) * valid[:, None, None]).astype(jnp.float32)
            found = loss(outputs[name], jnp.where(counted > 0, coarse, 0), counted)
            head = "" if name == LOGITS else f"{name}_"
            terms |= {f"{head}{term}": (weight * sum_, count) for term, (sum_, count) in found.items()}
        return terms

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits = logits_of(variables, normalised(batch.scaled()[image], spec.prepare))
        return {"class_map": logits.argmax(-1).astype(jnp.uint8)}

    def logits_of(variables: Variables, x: jax.Array) -> jax.Array:
        def forward(x: jax.Array) -> jax.Array:
            logits, _ = model.apply(variables, x, train=False)
            check(logits, x[..., 0])
            return logits

        return average(forward, x)

    def check(logits: jax.Array, pixels: jax.Array) -> None:
        if logits.shape != (*pixels.shape, len(spec.classes)):
            name, found = type(model).__name__, list(logits.shape[1:])
            raise ValueError(
                f"{name} gives logits {found} for images of {list(pixels.shape[1:])} pixels and {len(spec.classes)} "
                "classes, which is no segmentation: launch.py list models --task=segment shows what fits"
            )

    return Task(init, loss_of, predict, segmentation.evaluator(spec), headline="mean_iou", report="segment")


def at_size_of(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """The true classes [B, H, W] for logits [B, h, w, K] of no more pixels, each by the nearest pixel."""
    (height, width), (tall, wide) = truth.shape[1:], logits.shape[1:3]
    rows, columns = (jnp.arange(tall) * 2 + 1) * height // (2 * tall), (jnp.arange(wide) * 2 + 1) * width // (2 * wide)
    return truth if (tall, wide) == (height, width) else truth[:, rows][:, :, columns]
