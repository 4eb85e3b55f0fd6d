"""Where what counts is known to lie, as masks, from whatever targets a set has."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import Fields


def object_masks(
    fields: Fields, batch: Mapping[str, np.ndarray], size: tuple[int, ...], labels: np.ndarray | None = None
) -> NDArray[np.bool_] | None:
    """Masks bool [B, *size] of the objects in a batch; None where the set does not say where they are.

    They are those of an instance_map; or the pixels of a class_map that have the class `labels` [B] which is explained;
    or the boxes of that class.
    """
    for role in ("instance_map", "class_map", "boxes"):
        for name, field in fields.items():
            if field.role == role == "instance_map":
                return batch[name] > 0
            if field.role == role == "class_map" and labels is not None:
                return batch[name] == np.asarray(labels)[:, None, None]
            if field.role == role == "boxes" and labels is not None:
                kinds = next(batch[other] for other, field in fields.items() if field.role == "box_labels")
                own = kinds == np.asarray(labels)[:, None]
                return _inside(batch[name], own, size)
    return None


def _inside(boxes: np.ndarray, own: np.ndarray, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels [B, H, W] whose middle lies in one of the boxes [B, N, 4] that are `own` [B, N]."""
    y, x = (np.arange(length) + 0.5 for length in size)
    left, top, right, bottom = np.moveaxis(boxes[..., None], -2, 0)
    across, down = (left <= x) & (x < right), (top <= y) & (y < bottom)
    return (down[..., :, None] & across[..., None, :] & own[..., None, None]).any(1)
