"""Mirror images of arrays, one of which is chosen while a program runs: as the passes of a loop, not unrolled."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

# The axes of images [B, H, W, C] that are mirrored.
FLIPS = {"none": (), "horizontal": (2,), "vertical": (1,), "both": (1, 2)}


def axes_of(flips: str) -> tuple[int, ...]:
    """The axes that a setting of FLIPS means. Raises ValueError for another one."""
    if flips not in FLIPS:
        raise ValueError(f"flips = {flips!r} is none of {', '.join(FLIPS)}")
    return FLIPS[flips]


def ways(axes: Sequence[int]) -> jax.Array:
    """All choices of axes to mirror, [2 ** axes, axes] of True and False; the first mirrors none."""
    return jnp.asarray(list(itertools.product((False, True), repeat=len(axes))))


def mirror(
    array: jax.Array, way: jax.Array, axes: Sequence[int], flip: Callable[[jax.Array, int], jax.Array] = jnp.flip
) -> jax.Array:
    """The array flipped along the axes that a row of `ways` chooses. flip: how it is along one of them."""
    for number, axis in enumerate(axes):
        array = jnp.where(way[number], flip(array, axis), array)
    return array
