"""Where what counts is known to lie, as masks, from whatever targets a set has."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import BACKGROUND, Fields, Spec
from cnn_jax.ops.boxes import iou


def object_masks(
    fields: Fields,
    batch: Mapping[str, np.ndarray],
    size: tuple[int, ...],
    labels: np.ndarray | None = None,
    found: np.ndarray | None = None,
) -> NDArray[np.bool_] | None:
    """Masks bool [B, *size] of the objects in a batch; None where the set does not say where they are.

    They are those of an instance_map; or the pixels of a class_map that have the class `labels` [B] which is explained;
    or the boxes of that class, of which only the one most like the box `found` [B, 4] where that is what is explained:
    a map that shows another object of the class is wrong. Empty where there is none.
    """
    for role in ("instance_map", "class_map", "boxes"):
        for name, field in fields.items():
            if field.role == role == "instance_map" and found is None:
                return batch[name] > 0
            if field.role == role == "class_map" and labels is not None:
                return batch[name] == np.asarray(labels)[:, None, None]
            if field.role == role == "boxes" and labels is not None:
                kinds = next(batch[other] for other, field in fields.items() if field.role == "box_labels")
                own = kinds == np.asarray(labels)[:, None]
                own = own if found is None else _nearest(batch[name], own, np.asarray(found))
                return _inside(batch[name], own, size)
    return None


def _nearest(boxes: np.ndarray, own: np.ndarray, found: np.ndarray) -> NDArray[np.bool_]:
    """Which of the boxes [B, N, 4] that are `own` [B, N] overlaps `found` [B, 4] most; none where all are apart."""
    overlap = np.where(own, np.asarray(iou(jnp.asarray(boxes), jnp.asarray(found[:, None]))), 0.0)
    most = np.arange(boxes.shape[1]) == overlap.argmax(1)[:, None]
    return most & (overlap > 0)


def _inside(boxes: np.ndarray, own: np.ndarray, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels [B, H, W] whose middle lies in one of the boxes [B, N, 4] that are `own` [B, N]."""
    y, x = (np.arange(length) + 0.5 for length in size)
    left, top, right, bottom = np.moveaxis(boxes[..., None], -2, 0)
    across, down = (left <= x) & (x < right), (top <= y) & (y < bottom)
    return (down[..., :, None] & across[..., None, :] & own[..., None, None]).any(1)


def concept_masks(
    spec: Spec, batch: Mapping[str, np.ndarray], size: tuple[int, ...]
) -> tuple[NDArray[np.bool_], list[str]]:
    """Masks bool [B, *size, K] of K kinds of object, and what they are called: the classes of a class_map or of boxes.

    The objects of an instance_map alone are of the class of their example, or of one kind. Raises
    ValueError for a set that does not say where anything is.
    """
    roles = {field.role: name for name, field in spec.targets.items()}
    classes, numbers = list(spec.classes), np.arange(len(spec.classes))
    if "class_map" in roles:
        kept = [k for k, name in enumerate(classes) if name != BACKGROUND]
        return batch[roles["class_map"]][..., None] == np.array(kept), [classes[k] for k in kept]
    if "boxes" in roles:
        kinds = batch[roles["box_labels"]]
        return np.stack([_inside(batch[roles["boxes"]], kinds == k, size) for k in numbers], -1), classes
    if "instance_map" in roles:
        seen = batch[roles["instance_map"]] > 0
        labels = next((name for name, field in spec.targets.items() if field.role == "label"), None)
        if labels is not None:
            own = batch[labels][:, None] == numbers
            return seen[..., None] & own.reshape(len(seen), *[1] * (seen.ndim - 1), -1), classes
        return seen[..., None], ["object"]
    raise ValueError(f"'{spec.name}' has no masks, maps or boxes that say where objects are, which dissection needs")
