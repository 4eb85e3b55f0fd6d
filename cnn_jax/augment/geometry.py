"""Augmentations that move pixels, and with them maps, boxes and points: flip, dihedral, shift, crops, rotate, scale.

Each hands `affine.moved` its map as a matrix. Flips, quarter turns and shifts are copies of an image, not interpolated.
`visible` is the share of a box that must be left in the image for its object to count: below it the object is ignored
where the data says of each object whether it is (box_ignored), and lost elsewhere.
"""

import math

import jax
import jax.numpy as jnp

from cnn_jax.augment.affine import matrix, moved, shown, warped
from cnn_jax.augment.draw import (
    Fill,
    between,
    box_mask,
    box_sizes,
    colour_of,
    extent,
    fold,
    images,
    integer,
    log_between,
    per_image,
    require,
    uniform,
    with_range_of,
)
from cnn_jax.augment.objects import real, rows_of
from cnn_jax.augment.sampling import sample, sample_shrunk
from cnn_jax.batch import Batch
from cnn_jax.ops import boxes


def flip(keys: jax.Array, batch: Batch, *, probability: float = 0.5, vertical: float = 0.0) -> Batch:
    """Mirror left and right with `probability`, and top and bottom with the probability `vertical`."""
    for chance in (probability, vertical):
        require(0 <= chance <= 1, f"flip probability must lie in [0, 1]; got {chance}")
    sideways, over = uniform(keys) < probability, uniform(fold(keys, 1)) < vertical
    zero = jnp.zeros(len(keys), jnp.float32)
    mirror = matrix((jnp.where(over, -1.0, 1.0), zero, zero), (zero, jnp.where(sideways, -1.0, 1.0), zero))

    def mirrored(image: jax.Array) -> jax.Array:
        image = jnp.where(per_image(sideways), image[:, :, ::-1], image)
        return jnp.where(per_image(over), image[:, ::-1], image) if vertical else image

    return moved("flip", batch, mirror, mirrored)


def dihedral(keys: jax.Array, batch: Batch) -> Batch:
    """One of the 8 flips and quarter turns of a square, each as likely, for images without an up, as from above.

    Images that are not square are flipped, both ways, but not turned.
    """
    images(batch, "dihedral")
    height, width = extent(batch, "dihedral")
    turned, upset, mirrored = (uniform(keys, 3) < 0.5).T
    turned &= height == width
    zero = jnp.zeros(len(keys), jnp.float32)
    down, right = jnp.where(upset, -1.0, 1.0), jnp.where(mirrored, -1.0, 1.0)
    way = matrix(
        (jnp.where(turned, 0.0, down), jnp.where(turned, down, 0.0), zero),
        (jnp.where(turned, right, 0.0), jnp.where(turned, 0.0, right), zero),
    )

    def copied(image: jax.Array) -> jax.Array:
        image = jnp.where(per_image(upset), image[:, ::-1], image)
        image = jnp.where(per_image(mirrored), image[:, :, ::-1], image)
        return jnp.where(per_image(turned), image.swapaxes(1, 2), image) if height == width else image

    return moved("dihedral", batch, way, copied)


def shift(
    keys: jax.Array,
    batch: Batch,
    *,
    pixels: int = 4,
    padding: str = "constant",
    fill: Fill = 0.0,
    visible: float = 0.1,
) -> Batch:
    """Pad by `pixels` on each side and crop the original size at a random place (He et al. 2016, section 4.2).

    padding: "constant" shows `fill` outside, "reflect" mirrors without repeating the border, "edge" repeats it. Under
    any of them a class map is IGNORED there: what an image shows twice has no second box or label.
    """
    images(batch, "shift")
    height, width = extent(batch, "shift")
    require(padding in ("constant", "reflect", "edge"), f"padding is constant, reflect or edge; got {padding!r}")
    limit = min(height, width) - (1 if padding == "reflect" else 0)
    require(0 <= pixels <= limit, f"shift of {pixels} pixels does not suit images of {height} x {width}")
    offset = integer(uniform(keys, 2), 2 * pixels + 1)
    top, left = pixels - offset[:, 0], pixels - offset[:, 1]

    def crop(image: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], jnp.int32(0)), (height, width, image.shape[-1]))

    def shifted(image: jax.Array) -> jax.Array:
        border = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
        result = jax.vmap(crop)(jnp.pad(image, border, mode=padding), offset)
        if padding == "constant" and fill != 0:
            inside = box_mask(top, left, top + height, left + width, height, width)
            result = jnp.where(inside, result, colour_of(fill, image))
        return result

    one, zero = jnp.ones(len(keys), jnp.float32), jnp.zeros(len(keys), jnp.float32)
    way = matrix((one, zero, -top.astype(jnp.float32)), (zero, one, -left.astype(jnp.float32)))
    batch = with_range_of(batch, fill) if padding == "constant" else batch
    return moved("shift", batch, way, shifted, visible=visible)


def random_resized_crop(
    keys: jax.Array,
    batch: Batch,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    visible: float = 0.1,
) -> Batch:
    """Cut a random box and stretch it to the image's own size (Szegedy et al. 2015, section 6).

    area: shares of the image, drawn uniformly. aspect: width over height, drawn log-uniformly. Edges are not rounded to
    pixels; positions between the border and its pixels' centres show the border pixel.
    """
    images(batch, "random_resized_crop")
    height, width = extent(batch, "random_resized_crop")
    u = uniform(keys, 11, 2)
    heights, widths = box_sizes(u[:, 1:], height, width, area, aspect)
    tops, lefts = u[:, 0, 0] * (height - heights), u[:, 0, 1] * (width - widths)
    return _stretched("random_resized_crop", batch, tops, lefts, heights, widths, visible)


def random_iou_crop(
    keys: jax.Array,
    batch: Batch,
    *,
    overlaps: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    sides: tuple[float, float] = (0.3, 1.0),
    aspect: tuple[float, float] = (0.5, 2.0),
    tries: int = 40,
    visible: float = 0.1,
) -> Batch:
    """Cut a random box that holds an object and stretch it to the image's own size (Liu et al. 2016, section 2.2).

    A box must have at least one of `overlaps` as its IoU with an object whose centre lies in it and of which at least
    `visible` is left; 1 stands for the whole image. Which of them is drawn for each image, from those that at least one
    of its `tries` boxes reaches; an image shows the first that does, or all of it if none will do. In an image without
    objects any box will. sides: of the image's sides, drawn evenly. aspect: width over height in shares of the image; a
    box of another one will not do.

    The paper drops objects whose centre is outside; here those less visible than `visible` are ignored or lost, as in
    every move.
    """
    images(batch, "random_iou_crop")
    height, width = extent(batch, "random_iou_crop")
    require(len(overlaps) > 0 and all(0 <= o <= 1 for o in overlaps), f"overlaps must lie in [0, 1]; got {overlaps}")
    require(0 < sides[0] <= sides[1] <= 1, f"sides must be 0 < low <= high <= 1, in shares of the image; got {sides}")
    require(0 < aspect[0] <= aspect[1], f"aspect must be 0 < low <= high; got {aspect}")
    require(tries > 0, f"random_iou_crop needs at least one of tries; got {tries}")
    u = uniform(keys, tries, 4)
    shares = between(u[..., :2], *sides)  # [B, tries, (height, width)]
    corner = u[..., 2:] * (1 - shares)
    ratio = shares[..., 1] / shares[..., 0]
    reached = jnp.ones(u.shape[:2], jnp.float32)
    rows = rows_of(batch, "random_iou_crop")
    if rows:
        one = jnp.concatenate([corner[..., ::-1], (corner + shares)[..., ::-1]], axis=-1)[:, :, None]  # x, y
        other = (rows["boxes"] / jnp.asarray([width, height] * 2, jnp.float32))[:, None]  # in shares, [B, 1, N, 4]
        centre, sought = (other[..., :2] + other[..., 2:]) / 2, real(rows)[:, None]
        holds = sought & jnp.all((centre > one[..., :2]) & (centre < one[..., 2:]), axis=-1)
        holds &= boxes.intersection(one, other) >= visible * boxes.area(other)
        best = jnp.where(holds, boxes.iou(one, other), -1).max(axis=-1, initial=-1.0)
        reached = jnp.where(sought.any(axis=-1), best, 1)
    levels = jnp.asarray(overlaps, jnp.float32)
    will_do = (reached[..., None] >= levels) & ((ratio >= aspect[0]) & (ratio <= aspect[1]))[..., None] & (levels < 1)
    possible = will_do.any(axis=1) | (levels == 1)  # [B, levels]
    number = integer(uniform(fold(keys, 1)), possible.sum(axis=1))
    level = jnp.argmax(jnp.cumsum(possible, axis=1) > number[:, None], axis=1)[:, None]
    will_do = jnp.take_along_axis(will_do, level[:, None], axis=2)[..., 0]
    first, cut = jnp.argmax(will_do, axis=1)[:, None], will_do.any(axis=1)
    top, left = (jnp.where(cut, jnp.take_along_axis(corner[..., k], first, axis=1)[:, 0], 0) for k in (0, 1))
    tall, wide = (jnp.where(cut, jnp.take_along_axis(shares[..., k], first, axis=1)[:, 0], 1) for k in (0, 1))
    return _stretched("random_iou_crop", batch, top * height, left * width, tall * height, wide * width, visible)


def scale_jitter(
    keys: jax.Array,
    batch: Batch,
    *,
    factor: tuple[float, float] = (0.1, 2.0),
    fill: Fill = 0.5,
    visible: float = 0.1,
) -> Batch:
    """Resize by a factor drawn evenly from `factor`, crop or pad at a random place (Ghiasi et al. 2021, section 3).

    0.1 to 2 is the paper's large scale jittering, 0.8 to 1.25 its standard one. fill shows around what is smaller.
    Where a side of less than a pixel is left of an object, it counts as one of which too little is seen.
    """
    require(0 < factor[0] <= factor[1], f"scale_jitter factor must be 0 < low <= high; got {factor}")
    images(batch, "scale_jitter")
    height, width = extent(batch, "scale_jitter")
    u = uniform(keys, 3)
    step = 1 / between(u[:, 0], *factor)

    def offset(place: jax.Array, side: int) -> jax.Array:
        """From the image's centre to that of what is shown, in pixels of the image."""
        return (place - 0.5) * (side - side * step)

    zero = jnp.zeros_like(step)
    way = matrix((step, zero, offset(u[:, 1], height)), (zero, step, offset(u[:, 2], width)))

    def resized(image: jax.Array) -> jax.Array:
        rows, columns = shown(way, height, width)
        return sample_shrunk(image, rows, columns, step[:, None, None], fill, most=1 / factor[0])

    return moved("scale_jitter", with_range_of(batch, fill), way, resized, visible=visible, least=1.0)


def rotate(keys: jax.Array, batch: Batch, *, degrees: float = 15.0, fill: Fill = 0.0, visible: float = 0.1) -> Batch:
    """Turn about the centre by an angle uniform in [-degrees, degrees]; positive turns counter-clockwise."""
    angle = between(uniform(keys), -1.0, 1.0) * math.radians(degrees)
    cos, sin, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    return warped("rotate", batch, matrix((cos, sin, zero), (-sin, cos, zero)), fill, visible)


def scale(
    keys: jax.Array,
    batch: Batch,
    *,
    factor: tuple[float, float] = (0.8, 1.25),
    fill: Fill = 0.0,
    visible: float = 0.1,
) -> Batch:
    """Zoom about the centre by a factor log-uniform in `factor`; above 1 enlarges, below 1 shows `fill` around."""
    require(0 < factor[0] <= factor[1], f"scale factor must be 0 < low <= high; got {factor}")
    step = 1 / log_between(uniform(keys), *factor)
    zero = jnp.zeros_like(step)
    return warped("scale", batch, matrix((step, zero, zero), (zero, step, zero)), fill, visible)


def _stretched(
    augmentation: str,
    batch: Batch,
    tops: jax.Array,
    lefts: jax.Array,
    heights: jax.Array,
    widths: jax.Array,
    visible: float,
) -> Batch:
    """Boxes of the images, all [B] in pixels and not rounded, stretched to the images' own size."""
    height, width = extent(batch, augmentation)

    def cropped(image: jax.Array) -> jax.Array:
        rows = tops[:, None] + (jnp.arange(height, dtype=jnp.float32) + 0.5) * (heights / height)[:, None] - 0.5
        columns = lefts[:, None] + (jnp.arange(width, dtype=jnp.float32) + 0.5) * (widths / width)[:, None] - 0.5
        grid = (len(tops), height, width)
        rows = jnp.broadcast_to(jnp.clip(rows, 0, height - 1)[:, :, None], grid)
        columns = jnp.broadcast_to(jnp.clip(columns, 0, width - 1)[:, None, :], grid)
        return sample(image, rows, columns)

    zero = jnp.zeros_like(tops)
    down, right = tops + (heights - height) / 2, lefts + (widths - width) / 2  # from centre to centre
    way = matrix((heights / height, zero, down), (zero, widths / width, right))
    return moved(augmentation, batch, way, cropped, visible=visible)
