"""Network dissection: which units find which concepts, measured against masks (Bau et al. 2017, arXiv:1704.05796)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.ops.resize import resize

SHARE = 0.005  # of all positions at which a unit counts as on
TIE = 1e-5  # of a unit's range, within which values are the same
DETECTS = 0.04  # of the IoU, from which on the authors call a unit a detector of a concept


class Dissection(NamedTuple):
    """iou: [U, K], of where a unit is on and where a concept is, over all examples. thresholds: [U], above which it is.

    best: [U], the concept of the largest IoU, -1 where that is at most DETECTS.
    """

    iou: NDArray[np.float64]
    thresholds: NDArray[np.float32]
    best: NDArray[np.int64]


def dissect(maps: np.ndarray, masks: np.ndarray, *, share: float = SHARE, at_once: int = 16) -> Dissection:
    """Maps [N, *small, U] of U units against masks [N, *spatial, K] of K concepts, as booleans.

    A unit is on where its map, brought to the size of the masks by linear interpolation, is above the threshold that
    `share` of all its positions exceed. at_once: examples that are enlarged together.
    """
    units, concepts = maps.shape[-1], masks.shape[-1]
    flat = np.asarray(maps, np.float32).reshape(-1, units)
    thresholds = np.quantile(flat, 1 - share, axis=0).astype(np.float32)
    low, high = flat.min(0), flat.max(0)
    # More positions than that may have the largest value, as behind a relu6, which are on; those at the least are not.
    thresholds -= np.where(thresholds > low, np.float32(TIE) * (high - low), np.float32(0))

    @jax.jit
    def counts(maps: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        large = resize(maps, masks.shape[1:-1])
        on, there = (v.reshape(-1, v.shape[-1]).astype(jnp.float32) for v in (large > thresholds, masks))
        return on.T @ there, on.sum(0), there.sum(0)

    both, on, there = np.zeros((units, concepts)), np.zeros(units), np.zeros(concepts)
    for start in range(0, len(maps), at_once):
        part = slice(start, start + at_once)
        for total, more in zip((both, on, there), counts(maps[part], masks[part]), strict=True):
            total += np.asarray(more, np.float64)
    either = on[:, None] + there - both
    iou = both / np.maximum(either, 1)
    return Dissection(iou, thresholds, np.where(iou.max(1) > DETECTS, iou.argmax(1), -1))


def of_classes(class_maps: np.ndarray, classes: int) -> NDArray[np.bool_]:
    """Maps of classes [N, *spatial] as masks [N, *spatial, classes]; what is ignored is in none."""
    return class_maps[..., None] == np.arange(classes)
