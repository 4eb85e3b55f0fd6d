"""Instance segmentation: which pixels of an image are of the same object, as cells, whatever its class."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.batch import Batch, normalised, zeros
from cnn_jax.data.spec import IGNORED, VALID, Spec, named
from cnn_jax.evals import instances
from cnn_jax.evals.evaluator import Arrays, Evaluator
from cnn_jax.evals.segmentation import BACKGROUND
from cnn_jax.models.star_convex import StarConvex
from cnn_jax.ops import polygons
from cnn_jax.ops.batch_axis import divisor
from cnn_jax.tasks.task import Sums, Task, Variables


def segment_instances(model: nn.Module, spec: Spec) -> Task:
    """The task of telling objects apart, pixel by pixel.

    Args:
      model: says star-convex polygons, as models/star_convex.py does.
      spec: of the data, with one image and one instance_map. What is ignored says nothing: pixels of a class_map that
        are IGNORED, and objects that box_ignored marks, where the data has them.
    """
    if not (hasattr(model, "losses") and hasattr(model, "outlines")):
        name = type(model).__name__
        raise ValueError(
            f"{name} does not tell objects apart: launch.py list models --task=segment_instances shows what does"
        )
    shapes: StarConvex = model  # type: ignore[assignment]
    if len(found := [name for name in spec.classes if name != BACKGROUND]) > 1:
        said = f"objects of {len(found)} classes, as {found[0]}, are told apart, but not named"
        warnings.warn(f"{said}: tasks detect and segment name classes", stacklevel=2)
    image, target = named(spec.inputs, "image"), named(spec.targets, "instance_map")

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[image], train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        state = [name for name in variables if name != "params"]
        raw, new_state = model.apply(
            variables,
            normalised(batch.scaled()[image], spec.prepare),
            train=train,
            rngs={"dropout": key},
            mutable=state if train else [],
        )
        truth = batch[target].astype(jnp.int32)
        terms = shapes.losses(raw, truth, counted(batch, truth))
        # Over all devices: how much there is of objects is not the same on each.
        shares = [sum_ / divisor(count) for sum_, count in terms.values()]
        mean, images = jnp.sum(jnp.stack(shares)), batch[VALID].sum()
        return mean, new_state, {"loss": (mean * images, images), **terms}

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        pixels = batch.scaled()[image]
        raw: Any = model.apply(variables, normalised(pixels, spec.prepare), train=False)
        found = shapes.outlines(raw)
        size = jnp.broadcast_to(jnp.asarray(pixels.shape[1:3], jnp.int32), (len(pixels), 2))
        return {**found._asdict(), "size": size}

    scored = decoding(instances.evaluator(spec))
    return Task(init, loss, predict, scored, headline="ap50", report="segment_instances")


def counted(batch: Batch, truth: jax.Array) -> jax.Array:
    """Which pixels [B, H, W] say something, 0 or 1: `truth` are the objects of all."""
    counts = jnp.broadcast_to((batch[VALID] > 0)[:, None, None], truth.shape)
    for classes in batch.of("class_map").values():
        counts &= classes != IGNORED
    for ignored in batch.of("box_ignored").values():
        marked = jnp.pad(ignored > 0, ((0, 0), (1, 1)))  # of 0, no object, and of objects without a row
        rows = jnp.minimum(truth, marked.shape[1] - 1).reshape(len(truth), -1)
        counts &= ~jnp.take_along_axis(marked, rows, 1).reshape(truth.shape)
    return counts.astype(jnp.float32)


class Objects(NamedTuple):
    """The objects of an example, the surest first. polygons: [M, R, 2] corners x, y in pixels. scores: [M]."""

    polygons: NDArray[np.float64]
    scores: NDArray[np.float32]


def objects(outputs: Mapping[str, np.ndarray]) -> Objects:
    """Those that are left of the candidates of one example, when each stands for an object of its own."""
    real = outputs["scores"] > 0
    if outputs["found"] > len(real):  # in words that are the same for every image, so that they are said once
        said = f"some images have more than {len(real):,} candidates for objects, of which the surest are looked at"
        warnings.warn(f"{said}: the model's setting `most` says how many", stacklevel=2)
    drawn = polygons.stars(outputs["centres"][real], outputs["lengths"][real])
    height, width = outputs["size"].tolist()
    kept = polygons.distinct(drawn, (height, width))
    return Objects(drawn[kept], outputs["scores"][real][kept])


def instance_map(outputs: Mapping[str, np.ndarray]) -> NDArray[np.int32]:
    """The objects of one example as a map [H, W]: 1 for the surest, 0 for none."""
    height, width = outputs["size"].tolist()
    return polygons.painted(objects(outputs).polygons, (height, width))


def decoding(evaluator: Evaluator) -> Evaluator:
    """An evaluator of instance maps as one of what `predict` returns."""
    return evaluator._replace(add=partial(_add, evaluator))


def _add(evaluator: Evaluator, totals: Any, outputs: Arrays, batch: Arrays) -> Any:
    each = [{name: array[row] for name, array in outputs.items()} for row in range(len(outputs["found"]))]
    if not each:
        return totals
    return evaluator.add(totals, {instances.OUTPUT: np.stack([instance_map(one) for one in each])}, batch)
