"""RoIAlign: feature maps resampled inside boxes (He et al. 2017, section 3)."""

import jax
import jax.numpy as jnp


def roi_align(
    features: jax.Array,
    boxes: jax.Array,
    scale: float | jax.Array,
    size: tuple[int, int] = (7, 7),
    *,
    samples: int = 2,
    aligned: bool = False,
) -> jax.Array:
    """Averages of bilinear samples in each cell of a grid laid over each box.

    The weights of a sample are a product of one along y and one along x, and so are the cells: two matrix products for
    each box, forward and backward, and no scattered writes.

    Args:
      features: [H, W, C], of one image.
      boxes: [N, 4], corners in pixels of the image.
      scale: pixels of the map per pixel of the image, 1/16 for stride 16.
      size: rows and columns of the grid.
      samples: along each side of a cell.
      aligned: True shifts the boxes by half a pixel, so that samples lie where pixels' centres do (Detectron2);
        False is the original, with boxes at least one pixel of the map wide, which torchvision's detectors use.

    Returns:
      [N, *size, C]. Samples more than a pixel outside the map are 0; those within that take the border's value.
    """
    height, width, _ = features.shape
    boxes = boxes * scale - (0.5 if aligned else 0.0)
    sides = boxes[:, 2:] - boxes[:, :2]
    if not aligned:
        sides = jnp.maximum(sides, 1.0)
    down = _weights(boxes[:, 1], sides[:, 1], size[0], samples, height)
    across = _weights(boxes[:, 0], sides[:, 0], size[1], samples, width)
    # Rows first: they leave the smaller array.
    down, across = down.astype(features.dtype), across.astype(features.dtype)
    rows = jnp.einsum("nph,hwc->npwc", down, features)
    return jnp.einsum("nqw,npwc->npqc", across, rows)


def _weights(start: jax.Array, side: jax.Array, cells: int, samples: int, length: int) -> jax.Array:
    """What each position of the map counts in each cell, along one axis: [N, cells, length]."""
    offsets = (jnp.arange(cells)[:, None] + (jnp.arange(samples) + 0.5) / samples) / cells
    places = start[:, None, None] + offsets * side[:, None, None]  # [N, cells, samples]
    inside = (places >= -1) & (places <= length)
    hat = 1 - jnp.abs(jnp.clip(places, 0, length - 1)[..., None] - jnp.arange(length))
    return jnp.where(inside[..., None], jnp.maximum(hat, 0), 0).mean(2)
