"""Objects of a batch: rows of boxes, with the class, the mark and the area of each, and what becomes of them.

One rule holds for every augmentation. A box is the hull of what is still seen of its object. Where less than a share
`visible` of it is seen, the object need not be found any more, but it is no background either: its box_ignored becomes
1 where the data has that field, else its row is lost. So is the row of an object of which nothing is seen: zeros, and
-1 for its class. An object that is ignored already stays what it is as long as anything of it is seen.

Areas speak of the original picture, so they go along with their rows and do not change.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import LEFT_OUT, neighbour, require
from cnn_jax.batch import Batch
from cnn_jax.data.spec import VALID, Field, Role

OF_ROWS: tuple[Role, ...] = ("boxes", "box_labels", "box_ignored", "box_areas")
Rows = dict[Role, jax.Array]  # boxes [B, N, 4], the others [B, N]


def rows_of(batch: Batch, augmentation: str) -> Rows:
    """The objects of the batch, by role; none without boxes.

    Raises ValueError for two fields of a role, for rows without boxes, and for boxes that are not floats.
    """
    names = list(batch.of(*OF_ROWS))
    roles = [batch.fields[name].role for name in names]
    one = len(set(roles)) == len(roles) and ("boxes" in roles or not roles)
    said = f"{augmentation} needs one field of boxes, and of what belongs to its rows at most one of each role"
    require(one, f"{said}; the batch has {', '.join(names)}")
    for name in batch.of("boxes"):
        floating = bool(jnp.issubdtype(batch[name].dtype, jnp.floating))
        require(floating, f"{augmentation} moves boxes as floats; '{name}' holds {batch[name].dtype}")
    return {role: batch[name] for role, name in zip(roles, names, strict=True)}


def neighbours_rows(batch: Batch, rows: Rows, number: int) -> Rows:
    """The objects of example i ^ number; none of one that could not be decoded, whose image shows none."""
    real = neighbour(batch[VALID], number) > 0
    return kept({role: neighbour(array, number) for role, array in rows.items()}, real[:, None])


def with_rows(batch: Batch, rows: Rows) -> Batch:
    """The batch with these objects in the place of its own. There may be another number of rows."""
    for name in batch.of(*OF_ROWS):
        field, array = batch.fields[name], rows[batch.fields[name].role]
        batch = batch.with_field(name, field._replace(shape=array.shape[1:]), array.astype(batch[name].dtype))
    return batch


def seen(rows: Rows, boxes: jax.Array, share: jax.Array, visible: float, least: float = 0.0) -> Rows:
    """Objects of which `boxes` [B, N, 4] can be seen, a share [B, N] of each, by the rule above.

    least: sides in pixels below which an object counts as one of which too little is seen.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    any_left = (share > 0) & jnp.all(sides > 0, axis=-1)
    enough = any_left & (share >= visible) & jnp.all(sides >= least, axis=-1)
    rows = {**rows, "boxes": boxes}
    if "box_ignored" in rows:
        mark = rows["box_ignored"]
        rows["box_ignored"] = jnp.where(enough, mark, jnp.maximum(mark, jnp.ones((), mark.dtype)))
    return kept(rows, any_left if "box_ignored" in rows else enough)


def real(rows: Rows) -> jax.Array:
    """Which rows [B, N] hold an object that is to be found: with a box, a class, and no mark that it is ignored."""
    boxes = rows["boxes"]
    found = jnp.all(boxes[..., 2:] > boxes[..., :2], axis=-1)
    if "box_labels" in rows:
        found &= rows["box_labels"] >= 0
    return found & (rows["box_ignored"] == 0) if "box_ignored" in rows else found


def share_of(part: jax.Array, whole: jax.Array) -> jax.Array:
    """part / whole where the whole is above 0, else 0."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


def kept(rows: Rows, keep: jax.Array) -> Rows:
    """The objects where `keep` [B, N]; the other rows are as empty as those beyond the objects."""
    empty = {role: -1 if role == "box_labels" else 0 for role in rows}
    masks = {role: keep[..., None] if role == "boxes" else keep for role in rows}
    return {role: jnp.where(masks[role], x, jnp.asarray(empty[role], x.dtype)) for role, x in rows.items()}


def joined(batch: Batch, parts: Sequence[Rows], most: int, augmentation: str) -> tuple[Batch, jax.Array]:
    """The batch with the objects of several pictures as its own: all their rows, or the `most` largest of them.

    0 keeps all. What `most` leaves out is background to a detector, so the number of objects lost in that way is added
    as a value, LEFT_OUT [B]. Returned too: the new row [B, M] of each of the M rows of all parts, -1 where it is lost.
    """
    require(most >= 0, f"{augmentation} keeps at most a number of rows from 1 on, or all with 0; got most={most}")
    rows = {role: jnp.concatenate([part[role] for part in parts], axis=1) for role in parts[0]}
    boxes = rows["boxes"]
    size, total = boxes.shape[:2]
    place = jnp.broadcast_to(jnp.arange(total, dtype=jnp.int32), (size, total))
    if not 0 < most < total:
        return with_rows(batch, rows), place
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    order = jnp.argsort(-area, axis=1, stable=True).astype(jnp.int32)
    first = order[:, :most]

    def chosen(array: jax.Array) -> jax.Array:
        index = first.reshape(*first.shape, *[1] * (array.ndim - 2))
        return jnp.take_along_axis(array, index, axis=1, mode="promise_in_bounds")

    rank = jnp.argsort(order, axis=1).astype(jnp.int32)
    lost = jnp.maximum((area > 0).sum(axis=1) - most, 0).astype(jnp.float32)
    batch = batch.with_field(LEFT_OUT, Field("value", (), "float32"), lost + batch.arrays.get(LEFT_OUT, 0.0))
    return with_rows(batch, {role: chosen(array) for role, array in rows.items()}), jnp.where(rank < most, rank, -1)


def renumbered(numbers: jax.Array, which: jax.Array, place: jax.Array, parts: int) -> jax.Array:
    """Maps [B, H, W] of the numbers of objects after `joined`: that of row n - 1 of part `which` [B, H, W] was n.

    place: what `joined` has returned, for `parts` of as many rows each. A number without a row becomes 0, none. Raises
    ValueError for a map whose type cannot count the rows.
    """
    size, total = place.shape
    require(jnp.iinfo(numbers.dtype).max >= total, f"a map of {numbers.dtype} cannot number {total} objects")
    rows = total // parts
    table = jnp.pad(place.reshape(size, parts, rows) + 1, ((0, 0), (0, 0), (1, 0))).reshape(size, -1)
    number = jnp.clip(numbers.astype(jnp.int32), 0, rows + 1)
    index = which * (rows + 1) + jnp.where(number > rows, 0, number)
    found = jnp.take_along_axis(table, index.reshape(size, -1), axis=1, mode="promise_in_bounds")
    return found.reshape(numbers.shape).astype(numbers.dtype)
