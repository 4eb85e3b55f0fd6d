"""Crops of a smaller size, of which a share shows a class that is wanted (nnU-Net's foreground sampling)."""

import jax
import jax.numpy as jnp

from cnn_jax.augment.affine import matrix, moved
from cnn_jax.augment.draw import extent, fold, images, integer, listed, require, uniform
from cnn_jax.batch import Batch
from cnn_jax.data.prepare import square
from cnn_jax.data.spec import IGNORED


def crop(
    keys: jax.Array,
    batch: Batch,
    *,
    size: int | tuple[int, int] = 128,
    foreground: float = 0.0,
    background: int | None = 0,
    visible: float = 0.1,
) -> Batch:
    """Cut a window of `size` at a random place, so that the batch that is trained on has smaller images.

    size: of a square, or height and width; a side of the images that is shorter is not cut.
    foreground: the probability with which a crop is centred on a pixel of the class_map, any pixel of a class that is
    drawn from those in the image: so rare classes are shown as often as others. It is the case of a third of the crops
    in nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z). Near a border the crop is moved inside; an image
    that shows no such class is cropped anywhere.
    background: the class that is not looked for, None where each is; pixels that are ignored never are.
    """
    images(batch, "crop")
    height, width = extent(batch, "crop")
    tall, wide = square(size) or (0, 0)
    require(min(tall, wide) > 0, f"crop size must be at least 1 x 1; got {tall} x {wide}")
    tall, wide = min(tall, height), min(wide, width)
    require(0 <= foreground <= 1, f"crop foreground must lie in [0, 1]; got {foreground}")
    u = uniform(keys, 3)
    corner = jnp.stack([integer(u[:, 0], height - tall + 1), integer(u[:, 1], width - wide + 1)], axis=1)
    if foreground:
        maps = list(batch.of("class_map").values())
        wanted = "crop needs a field of the role class_map"
        require(bool(maps), f"{wanted}; the batch has {listed(batch)}: foreground=0 does without")
        pixel, found = pixel_of_class(uniform(fold(keys, 1), 2), maps[0], background)
        around = jnp.clip(pixel - jnp.asarray([tall // 2, wide // 2]), 0, jnp.asarray([height - tall, width - wide]))
        corner = jnp.where((found & (u[:, 2] < foreground))[:, None], around, corner)

    def cut(image: jax.Array) -> jax.Array:
        def one(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], jnp.int32(0)), (tall, wide, image.shape[-1]))

        return jax.vmap(one)(image, corner)

    one, zero = jnp.ones(len(keys), jnp.float32), jnp.zeros(len(keys), jnp.float32)
    down, right = corner[:, 0] + (tall - height) / 2, corner[:, 1] + (wide - width) / 2  # from centre to centre
    way = matrix((one, zero, down.astype(jnp.float32)), (zero, one, right.astype(jnp.float32)))
    return moved("crop", batch, way, cut, visible=visible, size=(tall, wide))


def pixel_of_class(u: jax.Array, class_map: jax.Array, background: int | None) -> tuple[jax.Array, jax.Array]:
    """A random pixel [B, (row, column)] of a random class of each map [B, H, W], and whether [B] there is one.

    u: uniform numbers [B, 2], which choose the class and the pixel. All classes of a map but `background` are equally
    likely, and all pixels of one.
    """
    classes = class_map.astype(jnp.int32)
    empty = jnp.zeros(IGNORED + 1, jnp.int32)
    count = jax.vmap(lambda one: empty.at[one].add(1))(classes.reshape(len(classes), -1))
    left_out = [IGNORED, *([] if background is None else [background])]
    sought = (count > 0).at[:, jnp.asarray(left_out)].set(False)
    chosen = _nth(sought, integer(u[:, 0], sought.sum(axis=1)))
    number = integer(u[:, 1], jnp.take_along_axis(count, chosen[:, None], axis=1)[:, 0])
    mine = classes == chosen[:, None, None]
    in_rows = mine.sum(axis=2, dtype=jnp.int32)
    row = jnp.argmax(jnp.cumsum(in_rows, axis=1) > number[:, None], axis=1)
    before = jnp.where(jnp.arange(in_rows.shape[1]) < row[:, None], in_rows, 0).sum(axis=1, dtype=jnp.int32)
    line = jnp.take_along_axis(mine, row[:, None, None], axis=1)[:, 0]
    return jnp.stack([row, _nth(line, number - before)], axis=1).astype(jnp.int32), sought.any(axis=1)


def _nth(mask: jax.Array, number: jax.Array) -> jax.Array:
    """The place [B] of the true value of each row [B, N] that has `number` [B] such before it."""
    return jnp.argmax(jnp.cumsum(mask, axis=1) > number[:, None], axis=1)
