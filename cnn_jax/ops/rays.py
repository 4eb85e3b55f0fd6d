"""Rays from pixels to the border of their objects, by which star-convex shapes are described.

Ray k of R leaves the centre of a pixel at the angle 2 pi k / R, counted from the x axis towards y, which points down.
It is followed in steps of one pixel for as long as the nearest pixel is of the same object; the border is half a pixel
beyond the last of these, along the axis that the ray is closer to. So it is in StarDist (Schmidt et al. 2018).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray


def directions(rays: int) -> NDArray[np.float64]:
    """Unit vectors (x, y) [R, 2]."""
    angles = 2 * math.pi * np.arange(rays) / rays
    return np.stack([np.cos(angles), np.sin(angles)], -1)


def steps_of(rays: int, height: int, width: int) -> NDArray[np.int32]:
    """The pixel (x, y), from that which a ray leaves, after each step of one across a picture: [R, steps, 2]."""
    lengths = np.arange(1, math.ceil(math.hypot(height, width)) + 1)
    # Rounded first, or the last bits of a sine would decide about exact halves; these go up, as in `data.prepare`.
    return np.floor(np.round(directions(rays)[:, None] * lengths[:, None], 9) + 0.5).astype(np.int32)


def beyond(rays: int) -> NDArray[np.float32]:
    """What each ray [R] has beyond its last step within the object, in pixels."""
    return (0.5 / np.abs(directions(rays)).max(-1)).astype(np.float32)


def ray_lengths(instances: jax.Array, rays: int, stride: int = 1) -> jax.Array:
    """The lengths in pixels, float32 [B, h, w, R], of the rays of every `stride`-th pixel; 0 outside objects.

    instances: whole numbers [B, H, W], 0 for none. Beyond the picture nothing is of an object.
    """
    size, height, width = instances.shape
    table, origin = jnp.asarray(steps_of(rays, height, width)), instances[:, ::stride, ::stride]
    around = jnp.pad(instances, ((0, 0), (height, height), (width, width)))
    # A step takes all pixels equally far, so that what they meet is one piece of the map.
    inside, none = origin > 0, (origin * 0).astype(jnp.int32)

    def steps_within(steps: jax.Array) -> jax.Array:
        def more(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            return jnp.any(state[1])

        def step(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            number, going, taken = state
            x, y = steps[number]
            met = lax.dynamic_slice(around, (jnp.int32(0), height + y, width + x), (size, height, width))
            going &= met[:, ::stride, ::stride] == origin
            return number + 1, going, taken + going

        return lax.while_loop(more, step, (jnp.int32(0), inside, none))[-1]

    lengths = jnp.moveaxis(lax.map(steps_within, table), 0, -1) + beyond(rays)
    return jnp.where(inside[..., None], lengths, 0)


def centrality(instances: jax.Array, lengths: jax.Array) -> jax.Array:
    """How central each pixel [B, h, w] is in its object: 1 where its shortest ray is longest, falling to the border.

    It is 0 outside objects. The shortest of many rays stands for the distance to the nearest pixel that is not of the
    object, by which StarDist defines the probability of an object.

    Args:
      instances: [B, h, w] the objects of those pixels.
      lengths: of their rays [B, h, w, R].
    """
    flat = instances.reshape(len(instances), -1)
    # A number's first place in order is below the number of pixels, however large the numbers of objects are.
    place = jax.vmap(jnp.searchsorted)(jnp.sort(flat, axis=1), flat)
    nearest = lengths.min(-1).reshape(flat.shape)
    longest = jax.vmap(lambda values, places: jnp.zeros_like(values).at[places].max(values))(nearest, place)
    share = nearest / jnp.maximum(jnp.take_along_axis(longest, place, 1), 0.5)  # no ray is shorter than half a pixel
    return jnp.where(instances > 0, share.reshape(instances.shape), 0)
