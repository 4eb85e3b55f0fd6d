"""Object detection: boxes around the objects of an image, with their classes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import LEFT_OUT
from cnn_jax.batch import Batch, normalised, zeros
from cnn_jax.data.spec import VALID, Spec, named
from cnn_jax.evals import detection
from cnn_jax.models.detector import Detections, Detector, Objects, whole
from cnn_jax.models.mirrored import mirrored
from cnn_jax.ops.batch_axis import divisor
from cnn_jax.ops.mirror import axes_of
from cnn_jax.tasks.task import Sums, Task, Variables


def detect(model: nn.Module, spec: Spec, *, sizes: tuple[float, float] = detection.SIZES, flips: str = "none") -> Task:
    """The task of finding objects.

    Args:
      model: a detector, as models/detector.py says.
      spec: of the data, with one image, boxes and box_labels; box_ignored, box_areas and placement where it has them.
      sizes: by which small, medium and large objects are told apart, see `evals.detection.evaluator`.
      flips: which mirror images are looked at too in prediction, "none", "horizontal", "vertical" or "both", which are
        four passes; what is found in them is made one by `models.mirrored`. Not for detectors of masks.
    """
    if not (hasattr(model, "losses") and hasattr(model, "detections")):
        raise ValueError(f"{type(model).__name__} is no detector: launch.py list models --task=detect shows them")
    axes = axes_of(flips)
    if axes and getattr(model, "mask_head", None) is not None:
        raise ValueError(f"flips = {flips!r} is not for {type(model).__name__} with a mask head")
    detector: Detector = model
    image, boxes, labels = named(spec.inputs, "image"), named(spec.targets, "boxes"), named(spec.targets, "box_labels")

    def init(key: jax.Array) -> Variables:
        return model.init(key, zeros(spec.inputs)[image], train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Sums]:
        state = [name for name in variables if name != "params"]
        objects, pixels = objects_of(batch), batch.scaled()[image]
        drop, sample = jax.random.split(key)
        raw, new_state = model.apply(
            variables,
            normalised(pixels, spec.prepare),
            train=train,
            content=content_of(batch, pixels),
            objects=objects,
            rngs={"dropout": drop, "sample": sample},
            mutable=state if train else [],
        )
        terms = detector.losses(raw, objects)
        # Over all devices: what a term counts, as the objects of a batch, is not the same on each.
        shares = {name: total / divisor(count) for name, (total, count) in terms.items()}
        mean = jnp.sum(jnp.stack(list(shares.values())))
        images = batch[VALID].sum()
        lost = {LEFT_OUT: ((batch[LEFT_OUT] * batch[VALID]).sum(), images)} if LEFT_OUT in batch else {}
        return mean, new_state, {"loss": (mean * images, images), **terms, **lost}

    def objects_of(batch: Batch) -> Objects:
        real = (batch[labels] >= 0) & (batch[VALID] > 0)[:, None]
        sides = batch[boxes][..., 2:] - batch[boxes][..., :2]
        real &= jnp.all(sides > 0, -1)
        ignored = next(iter(batch.of("box_ignored").values()), jnp.zeros_like(batch[labels])) > 0
        instances = next(iter(batch.of("instance_map").values()), None)
        return Objects(batch[boxes], batch[labels], real & ~ignored, real & ignored, batch[VALID], instances)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        def find(x: jax.Array, content: jax.Array) -> Detections:
            return detector.detections(model.apply(variables, x, train=False, content=content), content)

        pixels = batch.scaled()[image]
        x, content = normalised(pixels, spec.prepare), content_of(batch, pixels)
        return mirrored(find, axes)(x, content)._asdict()

    scored = detection.evaluator(spec, sizes)
    return Task(init, loss, predict, scored, headline="ap", report="detect")


def content_of(batch: Batch, pixels: jax.Array) -> jax.Array:
    """The box [B, 4] of each image [B, H, W, C] that shows the picture."""
    placements = batch.of("placement")
    if not placements:
        return whole(pixels)
    size = jnp.asarray(pixels.shape[1:3], jnp.float32)
    ((_, placement),) = placements.items()
    scale, offset, original = placement[:, :2], placement[:, 2:4], placement[:, 4:]
    low, high = jnp.maximum(offset, 0), jnp.minimum(offset + scale * original, size)
    return jnp.concatenate([low[:, ::-1], high[:, ::-1]], -1)
