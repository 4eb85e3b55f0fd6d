"""What an affine map per example does to everything that has a place: images, maps, boxes and points.

A flat `take_along_axis` with indices known to be in bounds is what XLA's CPU backend turns into a plain loop: four of
them warp 256 images of 32x32x3 in 2 ms, where three shears by interpolation matrices take 128 ms.

Two ways of counting meet here. Pixel j of a row covers the stretch from j to j + 1 in the coordinates of boxes and
points, so its centre is at j + 0.5; counted from the image's centre at W / 2 that is j - (W - 1) / 2, which is how the
matrices of `warp` count pixels. So one matrix serves both, pixel positions and edges.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import Fill, colour_of, extent, images, materialise, only, require, with_range_of
from cnn_jax.batch import Batch
from cnn_jax.data.spec import IGNORED, Role

PLACED: tuple[Role, ...] = ("image", "class_map", "instance_map", "boxes", "box_labels", "points")
# The same wherever the image moves; areas and placement speak of the original picture.
UNPLACED: tuple[Role, ...] = ("label", "labels", "tokens", "signal", "box_ignored", "box_areas", "placement")


def moved(
    augmentation: str,
    batch: Batch,
    matrix: jax.Array,
    image_move: Callable[[jax.Array], jax.Array],
    *,
    visible: float = 0.1,
) -> Batch:
    """The batch with all that has a place moved by matrix [B, 2, 3], as in `warp`.

    image_move: what the map is for images [B, H, W, C]; a copy for a map onto whole pixels, else `warp`. Maps
    [B, H, W] take the nearest pixel, outside IGNORED in a class map and 0 in an instance map, whatever an image shows
    there. A box becomes the hull of its moved corners, cut to the image; where less than `visible` of the hull's area
    is left its row is 0 and its label -1. Points outside the image stay there, so a task sees by the coordinates that
    they left; their order is kept, so a flip does not make a left eye a right one.

    Raises ValueError naming `augmentation` for a field that may depend on place in a way not known here (a value), for
    images and maps of several sizes, and for boxes or points that are not floats.
    """
    images(batch, augmentation)
    only(batch, augmentation, "move", PLACED + UNPLACED)
    require(0 <= visible <= 1, f"the visible share must lie in [0, 1]; got {visible}")
    for name, array in batch.of("boxes", "points").items():
        floating = bool(jnp.issubdtype(array.dtype, jnp.floating))
        require(floating, f"{augmentation} moves boxes and points as floats; '{name}' holds {array.dtype}")
    height, width = extent(batch, augmentation)
    batch = batch.map(image_move, "image")
    batch = batch.map(partial(nearest, matrix=matrix, outside=IGNORED), "class_map")
    batch = batch.map(partial(nearest, matrix=matrix, outside=0), "instance_map")
    onward = forward(matrix, height, width)
    batch = batch.map(lambda points: jnp.stack(_apply(onward, points[..., 0], points[..., 1]), axis=-1), "points")
    return _with_boxes(augmentation, batch, lambda boxes: move_boxes(boxes, onward, height, width, visible))


def warped(augmentation: str, batch: Batch, matrix: jax.Array, fill: Fill, visible: float) -> Batch:
    """`moved` with images read bilinearly, outside `fill`."""
    return moved(
        augmentation, with_range_of(batch, fill), matrix, partial(warp, matrix=matrix, fill=fill), visible=visible
    )


def matrix(rows: tuple[jax.Array, jax.Array, jax.Array], columns: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """The matrix [B, 2, 3] for `warp` out of its entries [B]."""
    return jnp.stack([jnp.stack(rows, axis=-1), jnp.stack(columns, axis=-1)], axis=1)


def warp(image: jax.Array, matrix: jax.Array, fill: Fill = 0.0) -> jax.Array:
    """Images [B, H, W, C] under an affine map each, matrix [B, 2, 3], outside `fill`.

    The matrix takes an output position (row, column, 1) to the input position (row, column) it shows, both counted in
    pixels from the image's centre.
    """
    return sample(image, *_shown(matrix, *image.shape[1:3]), fill)


def sample(image: jax.Array, rows: jax.Array, columns: jax.Array, fill: Fill = 0.0) -> jax.Array:
    """Images [B, H, W, C] read bilinearly at positions rows, columns [B, h, w] (pixel centres at integers).

    Outside the image everything is `fill`. No value lies beyond the least and the greatest of its channel and `fill`,
    whatever range those have, and a pixel read at its centre is that pixel. No low-pass filter: shrinking far below
    the original size aliases.
    """
    size, height, width, channels = image.shape
    rows, columns = jnp.clip(rows, -1, height), jnp.clip(columns, -1, width)  # keeps far positions representable
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = rows - top, columns - left
    flat = materialise(image.reshape(size, height * width, channels))
    outside = colour_of(fill, image)
    result, covered = jnp.zeros((*rows.shape, channels), image.dtype), jnp.zeros((*rows.shape, 1), image.dtype)
    for row, row_weight in ((top, 1 - down), (top + 1, down)):
        for column, column_weight in ((left, 1 - right), (left + 1, right)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = jnp.where(inside, row_weight * column_weight, 0)[..., None]
            index = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
            index = index.astype(jnp.int32).reshape(size, -1, 1)
            pixel = jnp.take_along_axis(flat, index, axis=1, mode="promise_in_bounds").reshape(result.shape)
            result, covered = result + weight * pixel, covered + weight
    result += (1 - covered) * outside
    # Four rounded weights may sum to a hair over 1. The bounds of the four pixels themselves would cost ten times that.
    low = jnp.minimum(flat.min(axis=1)[:, None, None], outside)
    high = jnp.maximum(flat.max(axis=1)[:, None, None], outside)
    return jnp.clip(result, low, high)


def nearest(array: jax.Array, matrix: jax.Array, outside: int) -> jax.Array:
    """Maps [B, H, W] under `warp`'s matrix, read at the pixel that a position lies in; `outside` beyond the border."""
    size, height, width = array.shape
    row, column = (jnp.floor(position + 0.5) for position in _shown(matrix, height, width))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = jnp.clip(row, 0, height - 1).astype(jnp.int32) * width + jnp.clip(column, 0, width - 1).astype(jnp.int32)
    flat = array.reshape(size, height * width)
    pixel = jnp.take_along_axis(flat, index.reshape(size, -1), axis=1, mode="promise_in_bounds")
    return jnp.where(inside, pixel.reshape(array.shape), jnp.asarray(outside, array.dtype))


def forward(matrix: jax.Array, height: int, width: int) -> jax.Array:
    """The map [B, 2, 3] from a point (x, y, 1) of the image to where `warp` shows it, in pixels from the corner.

    Exact for flips and whole pixels, and the identity for the identity: the centres cancel before a point comes in.
    """
    (a, b, down), (c, d, right) = (jnp.moveaxis(matrix[:, row], -1, 0) for row in (0, 1))
    determinant = a * d - b * c
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    y = height / 2 - (a * (height / 2 + down) + b * (width / 2 + right))
    x = width / 2 - (c * (height / 2 + down) + d * (width / 2 + right))
    return jnp.stack([jnp.stack([d, c, x], axis=-1), jnp.stack([b, a, y], axis=-1)], axis=1)


def move_boxes(
    boxes: jax.Array, onward: jax.Array, height: int, width: int, visible: float
) -> tuple[jax.Array, jax.Array]:
    """Boxes [B, N, 4] under the map `onward` [B, 2, 3] of `forward`, and which are kept [B, N]; the others are 0."""
    left, top, right, bottom = jnp.moveaxis(boxes, -1, 0)
    corners = jnp.stack([left, right, left, right], axis=-1), jnp.stack([top, top, bottom, bottom], axis=-1)
    x, y = _apply(onward, *corners)
    hull = (x.min(axis=-1), y.min(axis=-1), x.max(axis=-1), y.max(axis=-1))
    cut = tuple(jnp.clip(edge, 0, side) for edge, side in zip(hull, (width, height) * 2, strict=True))
    area = (cut[2] - cut[0]) * (cut[3] - cut[1])
    whole = (hull[2] - hull[0]) * (hull[3] - hull[1])
    kept = (right > left) & (bottom > top) & (area > 0) & (area >= visible * whole)
    return jnp.where(kept[..., None], jnp.stack(cut, axis=-1), 0), kept


def _shown(matrix: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Rows and columns [B, H, W] that the output's pixels show, pixel centres at integers."""
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    rows = (jnp.arange(height, dtype=jnp.float32) - middle_row)[None, :, None]
    columns = (jnp.arange(width, dtype=jnp.float32) - middle_column)[None, None, :]
    m = matrix[:, :, :, None, None]
    return (
        m[:, 0, 0] * rows + m[:, 0, 1] * columns + m[:, 0, 2] + middle_row,
        m[:, 1, 0] * rows + m[:, 1, 1] * columns + m[:, 1, 2] + middle_column,
    )


def _apply(onward: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Points x, y [B, ...] under the maps [B, 2, 3]. Sums, as a product of matrices may be rounded to 10 bits."""
    m = jnp.expand_dims(onward, tuple(range(3, 2 + x.ndim)))
    return m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2], m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]


def _with_boxes(augmentation: str, batch: Batch, move: Callable[[jax.Array], tuple[jax.Array, jax.Array]]) -> Batch:
    """The batch with its boxes moved and the labels of those that are lost set to -1."""
    boxes, labels = batch.of("boxes"), batch.of("box_labels")
    if not boxes:
        return batch
    one = len(boxes) == 1 and len(labels) <= 1
    names = ", ".join([*boxes, *labels])
    require(one, f"{augmentation} moves one field of boxes and the box_labels of its rows; the batch has {names}")
    ((name, array),) = boxes.items()
    array, kept = move(array)
    lost = {name: jnp.where(kept, label, jnp.asarray(-1, label.dtype)) for name, label in labels.items()}
    return batch | {name: array, **lost}
