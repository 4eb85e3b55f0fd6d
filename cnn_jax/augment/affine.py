"""What an affine map per example does to everything that has a place: images, maps, boxes and points.

Two ways of counting meet here. Pixel j of a row covers the stretch from j to j + 1 in the coordinates of boxes and
points, so its centre is at j + 0.5; counted from the image's centre at W / 2 that is j - (W - 1) / 2, which is how the
matrices of `warp` count pixels. So one matrix serves both, pixel positions and edges.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax.augment.content import content, with_content
from cnn_jax.augment.draw import Fill, extent, images, only, require, with_range_of
from cnn_jax.augment.objects import OF_ROWS, Rows, rows_of, seen, share_of, with_rows
from cnn_jax.augment.sampling import nearest, sample
from cnn_jax.batch import Batch
from cnn_jax.data.spec import IGNORED, Role
from cnn_jax.ops.boxes import area, clip

PLACED: tuple[Role, ...] = ("image", "class_map", "instance_map", *OF_ROWS, "points", "placement")
UNPLACED: tuple[Role, ...] = ("label", "labels", "tokens", "signal")  # the same wherever the image moves


def moved(
    augmentation: str,
    batch: Batch,
    matrix: jax.Array,
    image_move: Callable[[jax.Array], jax.Array],
    *,
    visible: float = 0.1,
    least: float = 0.0,
    size: tuple[int, int] | None = None,
) -> Batch:
    """The batch with all that has a place moved by matrix [B, 2, 3], as in `warp`.

    size: height and width of the result, by default those of the images.
    image_move: what the map is for images [B, H, W, C]; a copy for a map onto whole pixels, else `warp`. Maps
    [B, H, W] take the nearest pixel, outside IGNORED in a class map and 0 in an instance map, whatever an image shows
    there. A box becomes the hull of its moved corners, cut to the image; where less than `visible` of the hull's area
    is left, or a side of less than `least` pixels, the object is ignored or lost, as objects.py has it. Points outside
    the image stay there, so a task sees by the coordinates that they left; their order is kept, so a flip does not make
    a left eye a right one. A placement is that of the hull of the moved picture, as content.py has it.

    Raises ValueError naming `augmentation` for a field that may depend on place in a way not known here (a value), for
    images and maps of several sizes, and for boxes or points that are not floats.
    """
    images(batch, augmentation)
    only(batch, augmentation, "move", PLACED + UNPLACED)
    require(0 <= visible <= 1, f"the visible share must lie in [0, 1]; got {visible}")
    for name, array in batch.of("points").items():
        floating = bool(jnp.issubdtype(array.dtype, jnp.floating))
        require(floating, f"{augmentation} moves points as floats; '{name}' holds {array.dtype}")
    rows = rows_of(batch, augmentation)
    sides = extent(batch, augmentation)
    size = size or sides
    batch = batch.map(image_move, "image")
    positions = shown(matrix, *sides, size)
    batch = batch.map(lambda array: nearest(array, *positions, IGNORED), "class_map")
    batch = batch.map(lambda array: nearest(array, *positions, 0), "instance_map")
    onward = forward(matrix, *sides, size)
    batch = batch.map(lambda points: jnp.stack(_apply(onward, points[..., 0], points[..., 1]), axis=-1), "points")
    batch = batch.map(lambda place: with_content(place, hull(content(place)[:, None], onward)[:, 0]), "placement")
    return with_rows(batch, move_boxes(rows, onward, *size, visible, least)) if rows else batch


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

    The matrix takes an output position (row, column, 1) to the input position (row, column) it shows, each counted in
    pixels from the centre of its image.
    """
    height, width = image.shape[1:3]
    return sample(image, *shown(matrix, height, width), fill)


def forward(matrix: jax.Array, height: int, width: int, size: tuple[int, int]) -> jax.Array:
    """The map [B, 2, 3] from a point (x, y, 1) of the image to its place in the result, in pixels from the corner.

    size: height and width of the result.

    Exact for flips and whole pixels, and the identity for the identity: the centres cancel before a point comes in.
    """
    (a, b, down), (c, d, right) = (jnp.moveaxis(matrix[:, row], -1, 0) for row in (0, 1))
    determinant = a * d - b * c
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    y = size[0] / 2 - (a * (height / 2 + down) + b * (width / 2 + right))
    x = size[1] / 2 - (c * (height / 2 + down) + d * (width / 2 + right))
    return jnp.stack([jnp.stack([d, c, x], axis=-1), jnp.stack([b, a, y], axis=-1)], axis=1)


def move_boxes(rows: Rows, onward: jax.Array, height: int, width: int, visible: float, least: float) -> Rows:
    """Objects under the map `onward` [B, 2, 3] of `forward`: hulls of moved corners, cut to the image."""
    moved_boxes = hull(rows["boxes"], onward)
    cut = clip(moved_boxes, height, width)
    there = jnp.all(rows["boxes"][..., 2:] > rows["boxes"][..., :2], axis=-1)
    return seen(rows, cut, share_of(area(cut), jnp.where(there, area(moved_boxes), 0)), visible, least)


def hull(boxes: jax.Array, onward: jax.Array) -> jax.Array:
    """The boxes [B, N, 4] around the corners of boxes [B, N, 4] under the map `onward` [B, 2, 3] of `forward`."""
    left, top, right, bottom = jnp.moveaxis(boxes, -1, 0)
    corners = jnp.stack([left, right, left, right], axis=-1), jnp.stack([top, top, bottom, bottom], axis=-1)
    x, y = _apply(onward, *corners)
    return jnp.stack([x.min(axis=-1), y.min(axis=-1), x.max(axis=-1), y.max(axis=-1)], axis=-1)


def shown(
    matrix: jax.Array, height: int, width: int, size: tuple[int, int] | None = None
) -> tuple[jax.Array, jax.Array]:
    """Rows and columns of the image that each pixel of the result of `size` shows, [B, h, w]; centres at integers."""
    tall, wide = size or (height, width)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    rows = (jnp.arange(tall, dtype=jnp.float32) - (tall - 1) / 2)[None, :, None]
    columns = (jnp.arange(wide, dtype=jnp.float32) - (wide - 1) / 2)[None, None, :]
    m = matrix[:, :, :, None, None]
    return (
        m[:, 0, 0] * rows + m[:, 0, 1] * columns + m[:, 0, 2] + middle_row,
        m[:, 1, 0] * rows + m[:, 1, 1] * columns + m[:, 1, 2] + middle_column,
    )


def _apply(onward: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Points x, y [B, ...] under the maps [B, 2, 3]. Sums, as a product of matrices may be rounded to 10 bits."""
    m = jnp.expand_dims(onward, tuple(range(3, 2 + x.ndim)))
    return m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2], m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]
