"""RoIAlign: feature maps resampled inside boxes (He et al. 2017, section 3)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

CHUNK = 256  # boxes at a time: of each, 28 x 28 pixels of all channels are read for a grid of 7 x 7


def roi_align(
    maps: Sequence[jax.Array],
    boxes: jax.Array,
    scales: Sequence[float],
    size: tuple[int, int] = (7, 7),
    *,
    of: jax.Array | None = None,
    samples: int = 2,
    aligned: bool = False,
) -> jax.Array:
    """Averages of bilinear samples in each cell of a grid laid over each box, of one of several maps.

    Only the pixels next to samples are read, so that the size of the maps does not matter.

    Args:
      maps: [H, W, C] each, of one image.
      boxes: [N, 4], corners in pixels of the image.
      scales: pixels of each map per pixel of the image, 1/16 for stride 16.
      size: rows and columns of the grid.
      of: which of the maps a box is cut from, [N]; by default the first.
      samples: along each side of a cell.
      aligned: True shifts the boxes by half a pixel, so that samples lie where pixels' centres do (Detectron2);
        False is the original, with boxes at least one pixel of the map wide, which torchvision's detectors use.

    Returns:
      [N, *size, C]. Samples more than a pixel outside the map are 0; those within that take the border's value.
    """
    heights, widths = (np.array([x.shape[axis] for x in maps], np.int32) for axis in (0, 1))
    starts = np.cumsum(np.concatenate([[0], heights * widths]))[:-1]
    channels = maps[0].shape[-1]
    pixels = jnp.concatenate([x.reshape(-1, channels) for x in maps])

    def one(box: jax.Array, of: jax.Array) -> jax.Array:
        height, width, start, scale = (
            jnp.asarray(x)[of] for x in (heights, widths, starts, np.array(scales, np.float32))
        )
        box = box * scale - (0.5 if aligned else 0.0)
        sides = box[2:] - box[:2]
        if not aligned:
            sides = jnp.maximum(sides, 1.0)
        rows, down = _samples(box[1], sides[1], size[0], samples, height)
        columns, across = _samples(box[0], sides[0], size[1], samples, width)
        values = pixels[start + rows[:, :, None, None] * width + columns]  # [rows, 2 samples, columns, 2 samples, C]
        weights = (down[:, :, None, None] * across).astype(pixels.dtype)
        return (values * weights[..., None]).sum((1, 3))

    of = jnp.zeros(len(boxes), jnp.int32) if of is None else of
    if len(boxes) <= CHUNK:
        return jax.vmap(one)(boxes, of)
    return jax.lax.map(lambda pair: one(*pair), (boxes, of), batch_size=CHUNK)


def _samples(
    start: jax.Array, side: jax.Array, cells: int, samples: int, length: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Positions next to the samples of each cell along one axis, and what they count: [cells, 2 samples] each."""
    offsets = (jnp.arange(cells)[:, None] + (jnp.arange(samples) + 0.5) / samples) / cells
    places = start + offsets * side
    inside = (places >= -1) & (places <= length)
    places = jnp.clip(places, 0, length - 1)
    low = jnp.floor(places).astype(jnp.int32)
    part = places - low
    positions = jnp.stack([low, jnp.minimum(low + 1, length - 1)], -1)
    counts = jnp.where(inside[..., None], jnp.stack([1 - part, part], -1), 0) / samples
    return positions.reshape(cells, -1), counts.reshape(cells, -1)
