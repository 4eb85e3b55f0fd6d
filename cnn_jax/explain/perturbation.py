"""Attributions that hide parts of the input and look what becomes of the score; no derivative is needed."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.explain.attribution import Score
from cnn_jax.ops.chunks import chunk_size, sum_chunks
from cnn_jax.ops.resize import resize


def occlusion(
    f: Score,
    x: jax.Array,
    *,
    window: int = 16,
    stride: int = 8,
    reference: jax.Array | float = 0.0,
    chunk: int = 16,
) -> jax.Array:
    """What the score loses where a window is hidden, mean over the windows that cover a position: [B, *spatial].

    Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2, and captum's `Occlusion`: windows begin every `stride` positions
    until one reaches the end, and the last one may be cut there.
    """
    spatial = x.shape[1:-1]
    starts = [np.arange(1 + -(-max(size - window, 0) // stride)) * stride for size in spatial]
    grid = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, len(spatial))
    y = f(x)

    def part(starts: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = jax.vmap(covered)(starts)
        seen = jax.vmap(lambda hide: f(jnp.where(hide[None, ..., None], reference, x)))(hidden)
        hide = hidden.astype(x.dtype)
        return jnp.einsum("nb,n...->b...", y - seen, hide), hide.sum(0)

    def covered(start: jax.Array) -> jax.Array:
        inside = jnp.ones(spatial, bool)
        for axis, size in enumerate(spatial):
            at = jnp.arange(size).reshape([-1 if i == axis else 1 for i in range(len(spatial))])
            inside &= (at >= start[axis]) & (at < start[axis] + window)
        return inside

    lost, times = sum_chunks(part, (jnp.asarray(grid),), 1, chunk)
    return lost / jnp.maximum(times, 1)


def rise(
    f: Score,
    x: jax.Array,
    *,
    key: jax.Array,
    masks: int = 4000,
    cells: int = 8,
    kept: float = 0.5,
    reference: jax.Array | float = 0.0,
    chunk: int = 40,
    variant: Literal["authors", "xplique"] = "authors",
) -> jax.Array:
    """The mean of random soft masks, each by the score of what it lets through: Petsiuk et al. 2018, arXiv:1806.07421.

    f: a probability, not a logit. cells: of the coarse grid that is enlarged and shifted; as many as there are
    positions are hidden each by itself. kept: the share of them that let through. reference: what is behind the mask.
    variant: "authors" divides by masks * kept, "xplique" by the sum of the masks at each position, which takes away
      that some are covered more often by chance.
    """
    spatial = x.shape[1:-1]
    cell = [-(-size // cells) for size in spatial]

    def mask(key: jax.Array) -> jax.Array:
        draw, shift = jax.random.split(key)
        grid = jax.random.bernoulli(draw, kept, (1, *(cells for _ in spatial), 1)).astype(x.dtype)
        if max(cell) == 1:
            return grid[0, ..., 0][tuple(slice(size) for size in spatial)]
        large = resize(grid, [(cells + 1) * size for size in cell])[0, ..., 0]
        start = jax.random.randint(shift, (len(spatial),), 0, jnp.asarray(cell))
        return jax.lax.dynamic_slice(large, start, spatial)

    def part(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = jax.vmap(mask)(keys)
        scores = jax.vmap(lambda mask: f(reference + (x - reference) * mask[None, ..., None]))(drawn)
        return jnp.einsum("nb,n...->b...", scores, drawn), drawn.sum(0)

    found, times = sum_chunks(part, (jax.random.split(key, masks),), 1, chunk)
    return found / (masks * kept if variant == "authors" else jnp.maximum(times, 1e-6))


def scores_of_parts(
    f: Score,
    x: jax.Array,
    segments: jax.Array,
    shown: np.ndarray,
    *,
    reference: jax.Array | float = 0.0,
    chunk: int = 16,
) -> jax.Array:
    """Scores [N, B] of x with some of its segments shown, the others replaced by the reference.

    segments: [B, *spatial] int, which one a position belongs to. shown: [N, M], 1 or 0 for each of M segments.
    """

    def one(shown: jax.Array) -> jax.Array:
        return f(jnp.where(shown[segments][..., None] > 0, x, reference))

    return jax.lax.map(one, jnp.asarray(shown, x.dtype), batch_size=chunk_size(len(shown), 1, chunk))
