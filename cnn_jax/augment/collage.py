"""Augmentations that make one image of parts of several, with their objects: mosaic and copy-paste.

The others are neighbours in the batch, i ^ 1 to i ^ 3 for a mosaic and i ^ 1 for copy-paste. Batches are shuffled, so
these are random, and a device needs no example of another one; but a mosaic's batch per device must be a multiple of
4, and each of its images is a part of four mosaics of that batch.

What is seen of an object decides what becomes of it, as objects.py says: it is a quarter's share of a box for a mosaic,
and for copy-paste what nothing covers. An image then has the objects of several, so it has more rows of boxes: four
times as many after a mosaic, twice as many after copy-paste, or `most`, the largest: see `objects.joined`. Whatever is
no picture and no object (a label, a value, points) is refused: it says nothing of the new image.
"""

import jax
import jax.numpy as jnp

from cnn_jax.augment.content import union, with_content
from cnn_jax.augment.draw import (
    Fill,
    between,
    extent,
    fold,
    images,
    listed,
    materialise,
    neighbour,
    only,
    require,
    uniform,
    with_range_of,
)
from cnn_jax.augment.objects import (
    OF_ROWS,
    Rows,
    joined,
    kept,
    neighbours_rows,
    real,
    renumbered,
    rows_of,
    seen,
    share_of,
)
from cnn_jax.augment.sampling import nearest, sample_shrunk
from cnn_jax.batch import Batch
from cnn_jax.data.spec import IGNORED, Role
from cnn_jax.ops.boxes import area

ROLES: tuple[Role, ...] = ("image", "class_map", *OF_ROWS, "placement")
CENTRE = (0.25, 0.75)  # where the four images of a mosaic meet, in shares of the sides (Bochkovskiy et al. 2020)


def mosaic(
    keys: jax.Array,
    batch: Batch,
    *,
    factor: tuple[float, float] = (0.4, 1.0),
    probability: float = 1.0,
    fill: Fill = 0.5,
    visible: float = 0.1,
    most: int = 0,
) -> Batch:
    """Four images in one, around a random point (Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3).

    Each is resized by a factor of its own, drawn evenly from `factor`, and cropped to its quarter at a random place, or
    padded by `fill` where it is smaller. probability: of a mosaic; the other images stay as they are. Where a side of
    less than a pixel is left of an object, it counts as one of which too little is seen.

    ValueError for a batch that is no multiple of 4, images and maps of several sizes, a field that has no meaning in
    the new image, and an instance map without boxes.
    """
    height, width, rows = _checked(batch, "mosaic", probability, visible)
    require(0 < factor[0] <= factor[1], f"mosaic factor must be 0 < low <= high; got {factor}")
    require(batch.size % 4 == 0, f"mosaic needs groups of 4 examples; use a multiple per device, not {batch.size}")
    u, tiles = uniform(keys, 3), uniform(fold(keys, 1), 4, 3)
    alone = u[:, 2] >= probability  # its quarter is all there is
    low = jnp.where(alone, height, jnp.round(height * between(u[:, 0], *CENTRE)))
    right = jnp.where(alone, width, jnp.round(width * between(u[:, 1], *CENTRE)))
    scale = jnp.where(alone[:, None], 1.0, between(tiles[..., 0], *factor))  # [B, 4]
    zero, sides = jnp.zeros_like(low), jnp.asarray([height, width], jnp.float32)
    corners = [(zero, zero, low, right), (zero, right, low, zero + width), (low, zero, zero + height, right)]
    corners.append((low, right, zero + height, zero + width))
    edges = jnp.stack([jnp.stack(quarter, axis=-1) for quarter in corners], axis=1)
    first, last = edges[..., :2], edges[..., 2:]
    # [B, 4, (row, column)]: the quarters' corners, and where the corner of an image comes to lie in the new one.
    origin = first - tiles[..., 1:] * (scale[..., None] * sides - (last - first))

    row, column = jnp.arange(height, dtype=jnp.float32)[:, None], jnp.arange(width, dtype=jnp.float32)
    below, beyond = row >= low[:, None, None], column >= right[:, None, None]

    def of_pixel(values: jax.Array) -> jax.Array:
        """Values [B, 4] of the quarters as those of the pixels [B, H, W]."""
        one, two, three, four = (values[:, k, None, None] for k in range(4))
        return jnp.where(below, jnp.where(beyond, four, three), jnp.where(beyond, two, one))

    quarter = of_pixel(jnp.broadcast_to(jnp.arange(4), scale.shape))
    which = (jnp.arange(batch.size) % 4)[:, None, None] ^ quarter
    step = of_pixel(1 / scale)
    rows_shown = materialise((row + 0.5 - of_pixel(origin[..., 0])) * step - 0.5)
    columns_shown = materialise((column + 0.5 - of_pixel(origin[..., 1])) * step - 0.5)

    def combined(image: jax.Array) -> jax.Array:
        return sample_shrunk(image, rows_shown, columns_shown, step, fill, most=1 / factor[0], group=4, which=which)

    maps = {
        name: nearest(array, rows_shown, columns_shown, outside, group=4, which=which)
        for role, outside in (("class_map", IGNORED), ("instance_map", 0))
        for name, array in batch.of(role).items()  # type: ignore[arg-type]
    }
    batch = with_range_of(batch, fill).map(combined, "image") | maps
    everywhere = jnp.broadcast_to(jnp.asarray([0, 0, width, height], jnp.float32), (batch.size, 4))
    batch = batch.map(lambda place: jnp.where(alone[:, None], place, with_content(place, everywhere)), "placement")
    if not rows:
        return batch
    parts = []
    for k in range(4):
        part = neighbours_rows(batch, rows, k)
        corner, inner, outer = (values[:, k, None, ::-1] for values in (origin, first, last))  # as x, y
        placed = part["boxes"] * scale[:, k, None, None] + jnp.concatenate([corner, corner], -1)
        cut = jnp.clip(placed, jnp.concatenate([inner, inner], -1), jnp.concatenate([outer, outer], -1))
        parts.append(seen(part, cut, share_of(area(cut), area(placed)), visible, least=1.0))
    batch, place = joined(batch, parts, most, "mosaic")
    return batch | {name: renumbered(array, quarter, place, 4) for name, array in batch.of("instance_map").items()}


def copy_paste(
    keys: jax.Array,
    batch: Batch,
    *,
    probability: float = 0.5,
    border: int = 1,
    visible: float = 0.1,
    most: int = 0,
) -> Batch:
    """Objects of the neighbour over the image, at the places where they are there (Ghiasi et al. 2021, section 3).

    probability: of each of the neighbour's objects to be pasted; none that is ignored. Where the data has an
    instance_map the pixels of the object are pasted, else those of its box, and with these what of other objects lies
    in it. What is pasted becomes transparent over `border` pixels to both sides of its edge. An object that is partly
    covered has the box of what is still seen. For objects of other sizes and places use it after `scale_jitter`, as the
    paper does.

    ValueError for an odd batch, one without boxes, images and maps of several sizes, and a field that has no meaning in
    the new image.
    """
    height, width, rows = _checked(batch, "copy_paste", probability, visible)
    require(bool(rows), f"copy_paste needs a field of the role boxes; the batch has {listed(batch)}")
    require(batch.size % 2 == 0, f"copy_paste needs pairs of examples; use an even batch per device, not {batch.size}")
    require(border >= 0, f"border must not be negative; got {border}")
    others = neighbours_rows(batch, rows, 1)
    chosen = (uniform(keys, rows["boxes"].shape[1]) < probability) & real(others)
    maps = list(batch.of("instance_map").values())
    require(len(maps) <= 1, f"copy_paste takes one instance_map; the batch has {listed(batch)}")
    own_map, other_map = (maps[0], neighbour(maps[0], 1)) if maps else (None, None)
    if other_map is None:
        pasted = materialise(_inside(chosen, others["boxes"], height, width))
    else:
        others = kept(others, _pixels(other_map, chosen.shape[1]).any(axis=(2, 3)))
        part, place = jnp.zeros_like(other_map, jnp.int32), jnp.where(chosen, 0, -1)
        pasted = materialise(renumbered(other_map, part, place, 1) > 0)
    share = _softened(pasted.astype(jnp.float32), border)[..., None]
    hard = {name: jnp.where(pasted, neighbour(x, 1), x) for name, x in batch.of("class_map", "instance_map").items()}
    parts = [
        seen(part, *_left_of(part["boxes"], free, numbers), visible)
        for part, free, numbers in ((rows, ~pasted, own_map), (others, pasted, other_map))
    ]
    batch = batch.map(lambda image: (1 - share) * image + share * neighbour(image, 1), "image") | hard
    batch = batch.map(lambda place: union(place, neighbour(place, 1)), "placement")
    batch, place = joined(batch, parts, most, "copy_paste")
    which = pasted.astype(jnp.int32)
    return batch | {name: renumbered(array, which, place, 2) for name, array in batch.of("instance_map").items()}


def _checked(batch: Batch, augmentation: str, probability: float, visible: float) -> tuple[int, int, Rows]:
    """Height and width of the images, and their objects. Raises ValueError for what no collage can be made of."""
    images(batch, augmentation)
    require(0 <= probability <= 1, f"{augmentation} probability must lie in [0, 1]; got {probability}")
    require(0 <= visible <= 1, f"the visible share must lie in [0, 1]; got {visible}")
    rows = rows_of(batch, augmentation)
    numbered: tuple[Role, ...] = ("instance_map",) if rows else ()  # by the rows of boxes
    only(batch, augmentation, "combine", (*ROLES, *numbered))
    return *extent(batch, augmentation), rows


def _inside(chosen: jax.Array, boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Whether a pixel's centre lies in one of the chosen [B, N] boxes: [B, H, W]."""

    def within(low: jax.Array, high: jax.Array, length: int) -> jax.Array:
        centre = jnp.arange(length) + 0.5
        return (centre > low[..., None]) & (centre < high[..., None]) & chosen[..., None]

    rows, columns = within(boxes[..., 1], boxes[..., 3], height), within(boxes[..., 0], boxes[..., 2], width)
    return jnp.einsum("bnh,bnw->bhw", rows.astype(jnp.float32), columns.astype(jnp.float32)) > 0


def _softened(mask: jax.Array, border: int) -> jax.Array:
    """The mean of the mask [B, H, W] over squares of 2 border + 1 pixels; beyond the image it is as at its edge."""
    for axis in (1, 2):
        length = mask.shape[axis]
        wide = jnp.pad(mask, [(border, border) if axis == k else (0, 0) for k in range(3)], mode="edge")
        moved = [jax.lax.slice_in_dim(wide, k, k + length, axis=axis) for k in range(2 * border + 1)]
        mask = sum(moved[1:], moved[0]) / (2 * border + 1)
    return mask


def _left_of(boxes: jax.Array, free: jax.Array, numbers: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """What is seen of objects where `free` [B, H, W]: its hull [B, N, 4] and its share [B, N].

    numbers [B, H, W]: which pixels are those of an object, by its row; without, or without any, those of its box are.
    """
    height, width = free.shape[1:]
    shown = free.astype(jnp.float32)
    in_rows, in_columns = _lengths(boxes[..., 1::2], height), _lengths(boxes[..., 0::2], width)
    by_row = in_rows * jnp.einsum("bhw,bnw->bnh", shown, in_columns, precision="highest")
    by_column = in_columns * jnp.einsum("bhw,bnh->bnw", shown, in_rows, precision="highest")
    share = share_of(by_row.sum(axis=-1), area(boxes))
    share = jnp.where(share > 1 - 1e-5, 1, share)  # a sum of many parts of one box
    hull = _hull(boxes, by_row > 0, by_column > 0)
    if numbers is None:
        return hull, share
    mine = _pixels(numbers, boxes.shape[1])
    seen_of = mine & free[:, None]
    total, left = mine.sum(axis=(2, 3)), seen_of.sum(axis=(2, 3))
    exact = _hull(boxes, seen_of.any(axis=3), seen_of.any(axis=2))
    exact = jnp.where((left < total)[..., None], exact, boxes)
    known = total > 0
    return jnp.where(known[..., None], exact, hull), jnp.where(known, left / jnp.maximum(total, 1), share)


def _pixels(numbers: jax.Array, rows: int) -> jax.Array:
    """Whether a pixel of the map [B, H, W] is one of the object of a row: [B, N, H, W]."""
    return numbers[:, None] == jnp.arange(1, rows + 1, dtype=numbers.dtype)[:, None, None]


def _lengths(edges: jax.Array, length: int) -> jax.Array:
    """How much of each of `length` pixels lies between two edges [B, N, 2]: [B, N, length] in [0, 1]."""
    pixel = jnp.arange(length, dtype=jnp.float32)
    low, high = edges[..., :1], edges[..., 1:]
    return jnp.clip(jnp.minimum(high, pixel + 1) - jnp.maximum(low, pixel), 0, 1)


def _hull(boxes: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """The parts of boxes [B, N, 4] from the first to the last of the true rows [B, N, H] and columns [B, N, W]."""
    ends = []
    for lines in (columns, rows):
        length = lines.shape[-1]
        ends.append((jnp.argmax(lines, axis=-1), length - jnp.argmax(lines[..., ::-1], axis=-1)))
    first = jnp.stack([ends[0][0], ends[1][0]], axis=-1).astype(boxes.dtype)
    last = jnp.stack([ends[0][1], ends[1][1]], axis=-1).astype(boxes.dtype)
    return jnp.concatenate([jnp.maximum(boxes[..., :2], first), jnp.minimum(boxes[..., 2:], last)], axis=-1)
