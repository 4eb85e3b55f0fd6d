"""Masks as a small grid over each box, as detectors learn and give them: cut out of pictures, and laid on them."""

import jax
import jax.numpy as jnp
import numpy as np


def cut(instances: jax.Array, numbers: jax.Array, boxes: jax.Array, cells: int) -> jax.Array:
    """What share of each cell of a grid over a box [N, 4] an object covers: [N, cells, cells] in [0, 1].

    RoIAlign with as many samples along each side of a cell as it has pixels, rounded up, as torchvision cuts the masks
    that it learns from.

    Args:
      instances: [H, W] number of the object that a pixel belongs to.
      numbers: [N] of the objects.
      boxes: in pixels.
    """

    def along(start: jax.Array, side: jax.Array, length: int) -> jax.Array:
        """What each pixel counts in each cell, [cells, length]."""
        side = jnp.maximum(side, 1.0)
        samples = jnp.ceil(side / cells)

        def add(i: jax.Array, weights: jax.Array) -> jax.Array:
            places = start + (jnp.arange(cells) + (i + 0.5) / samples) * (side / cells)
            inside = (places >= -1) & (places <= length) & (i < samples)
            hat = 1 - jnp.abs(jnp.clip(places, 0, length - 1)[:, None] - jnp.arange(length))
            return weights + jnp.where(inside[:, None], jnp.maximum(hat, 0), 0)

        return jax.lax.fori_loop(0, -(-length // cells) + 1, add, jnp.zeros((cells, length))) / samples

    def one(number: jax.Array, box: jax.Array) -> jax.Array:
        height, width = instances.shape
        down, across = along(box[1], box[3] - box[1], height), along(box[0], box[2] - box[0], width)
        return down @ (instances == number).astype(jnp.float32) @ across.T

    return jax.lax.map(lambda pair: one(*pair), (numbers, boxes))


def pasted(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each mask [K, M, M], in [0, 1], resized to its box [K, 4] on a picture of the size [H, W]: float32 [K, H, W].

    torchvision's rule: a border of one cell of 0 is added and the box enlarged with it, its corners are cut to whole
    pixels, the last of which is covered too, and the resizing is bilinear. The usual threshold is 0.5.

    Args:
      masks, boxes: of one picture; boxes in its pixels, as `placement.to_original` gives them.
    """
    count, cells = masks.shape[:2]
    padded = np.pad(masks.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    middle, half = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5), (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5)
    half = half * np.float32((cells + 2) / cells)
    whole = np.concatenate([middle - half, middle + half], 1).astype(np.int64)  # towards 0
    found = np.zeros((count, *size), np.float32)
    for mask, box, out in zip(padded, whole, found, strict=True):
        low, sides = box[:2], np.maximum(box[2:] - box[:2] + 1, 1)
        first, last = np.maximum(low, 0), np.minimum(box[2:] + 1, size[::-1])
        (x, y), (right, bottom) = first, last
        if (last > first).all():
            down = _bilinear(cells + 2, int(sides[1]))[y - low[1] : bottom - low[1]]
            across = _bilinear(cells + 2, int(sides[0]))[x - low[0] : right - low[0]]
            out[y:bottom, x:right] = down @ mask @ across.T
    return found


def _bilinear(cells: int, length: int) -> np.ndarray:
    """What each of `length` pixels has of each of `cells`, whose centres lie evenly: [length, cells]."""
    places = np.maximum(
        (np.arange(length, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / length) - np.float32(0.5), 0
    )
    low = np.minimum(places.astype(int), cells - 1)
    part = places - low.astype(np.float32)
    weights = np.zeros((length, cells), np.float32)
    rows = np.arange(length)
    weights[rows, low] += 1 - part
    weights[rows, np.minimum(low + 1, cells - 1)] += part
    return weights
