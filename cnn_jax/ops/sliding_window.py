"""Logits of each pixel of an image of any size: by windows that overlap, and as a mean over flips and sizes.

A forward pass is a function of x [B, h, w, C] that returns logits [B, h, w, K]. What is made of it here is such a
function again. The windows are placed and weighted as nnU-Net does it (Isensee et al. 2021, doi:10.1038/s41592-020-
01008-z, supplementary note 2.4), and logits are averaged, not probabilities, as there.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.ops.chunks import pad_spatial
from cnn_jax.ops.mirror import axes_of, mirror, ways
from cnn_jax.ops.resize import resize

Forward = Callable[[jax.Array], jax.Array]


def averaging(
    *, window: int | Sequence[int] = 0, step: float = 0.5, flips: str = "none", scales: Sequence[float] = (1.0,)
) -> Callable[[Forward, jax.Array], jax.Array]:
    """A function of (forward, x [B, H, W, C]) that returns the logits [B, H, W, K].

    Args:
      window: pixels of a side, or height and width, of the windows that are computed one after another; 0 computes the
        whole image at once.
      step: from one window to the next, in sides of the window.
      flips: which mirror images of each window are computed too: "none", "horizontal", "vertical", or "both", which are
        four passes.
      scales: factors by which the image is resized; each is a pass of its own.

    Raises ValueError for other settings.
    """
    sides = tuple(window) if isinstance(window, Sequence) else (window, window)
    if sides != (0, 0) and not (len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)):
        raise ValueError(f"window = {window!r} must be pixels of a side, or height and width; 0 is the whole image")
    if not (isinstance(step, int | float) and 0 < step <= 1):
        raise ValueError(f"step = {step!r} must be above 0 and at most 1: in sides of the window")
    axes = axes_of(flips)
    listed = isinstance(scales, Sequence) and len(scales) > 0
    if not listed or not all(isinstance(scale, int | float) and 0 < scale < math.inf for scale in scales):
        raise ValueError(f"scales = {scales!r} must be positive numbers, as (0.75, 1, 1.25)")

    def average(forward: Forward, x: jax.Array) -> jax.Array:
        forward = flipped(forward, axes)
        return rescaled(partial(slid, forward, window=sides, step=step) if any(sides) else forward, x, scales)

    return average


def slid(forward: Forward, x: jax.Array, *, window: Sequence[int], step: float = 0.5) -> jax.Array:
    """The logits of x [B, H, W, C], computed window by window: [B, H, W, K].

    An image smaller than a window is padded with zeros on both sides. The windows are the steps of a loop, so that
    beside image and logits no more memory is needed than for one of them. Where there is but one, this is the forward
    pass itself.
    """
    missing = [max(side - size, 0) for side, size in zip(window, x.shape[1:3], strict=True)]
    x = pad_spatial(x, [(pixels // 2, pixels - pixels // 2) for pixels in missing])
    (tops, down), (lefts, across) = (
        (jnp.asarray(starts(size, side, step)), jnp.asarray(shares(size, side, step)))
        for size, side in zip(x.shape[1:3], window, strict=True)
    )
    said = jax.eval_shape(forward, jax.ShapeDtypeStruct((len(x), *window, x.shape[-1]), x.dtype))

    def add(number: jax.Array, total: jax.Array) -> jax.Array:
        row, column = number // len(lefts), number % len(lefts)
        corner = (0, tops[row], lefts[column], 0)
        logits = forward(lax.dynamic_slice(x, corner, (len(x), *window, x.shape[-1])))
        part = logits * (down[row][:, None] * across[column])[..., None]
        return lax.dynamic_update_slice(total, lax.dynamic_slice(total, corner, part.shape) + part, corner)

    if len(tops) * len(lefts) == 1:
        total = forward(x)
    else:
        total = lax.fori_loop(0, len(tops) * len(lefts), add, jnp.zeros((*x.shape[:3], said.shape[-1]), jnp.float32))
    return pad_spatial(total.astype(said.dtype), [(-(pixels // 2), pixels // 2 - pixels) for pixels in missing])


def flipped(forward: Forward, axes: Sequence[int]) -> Forward:
    """The mean over all mirror images of x along some of its `axes`; the passes are the steps of a loop."""
    if not axes:
        return forward
    every = ways(axes)

    def mean(x: jax.Array) -> jax.Array:
        def add(total: jax.Array, way: jax.Array) -> tuple[jax.Array, None]:
            return total + mirror(forward(mirror(x, way, axes)), way, axes), None

        said = jax.eval_shape(forward, x)
        total, _ = lax.scan(add, jnp.zeros(said.shape, jnp.float32), every)
        return (total / len(every)).astype(said.dtype)

    return mean


def rescaled(forward: Forward, x: jax.Array, scales: Sequence[float]) -> jax.Array:
    """The mean over passes of x [B, H, W, C] resized by each factor, whose logits are resized back to [B, H, W, K]."""
    size = x.shape[1:3]
    passes = []
    for scale in scales:
        other = tuple(max(round(scale * side), 1) for side in size)
        passes.append(resize(forward(resize(x, other)), size))
    return sum(passes[1:], passes[0]) / len(passes)


def starts(size: int, window: int, step: float = 0.5) -> np.ndarray:
    """The first pixels [n] of the windows along a side of `size` >= `window` pixels, spread evenly and rounded.

    There are as many as are needed for neighbours at most `step` windows apart: 110, 64, 0.5 -> 0, 23, 46.
    """
    count = math.ceil((size - window) / (window * step)) + 1
    return np.round(np.linspace(0, size - window, count)).astype(np.int32)


def shares(size: int, window: int, step: float = 0.5) -> np.ndarray:
    """What each pixel of each window counts, float32 [n, window]: over all windows a pixel's shares sum to 1.

    Before that a pixel's weight is a Gaussian around the middle of the window whose standard deviation is an eighth of
    the side. It is above 0 everywhere, as at the border of an image a pixel may lie in one window alone.
    """
    middle = (window - 1) / 2
    weights = np.exp(-0.5 * ((np.arange(window) - middle) / (window / 8)) ** 2)
    first, total = starts(size, window, step), np.zeros(size)
    for start in first:
        total[start : start + window] += weights
    return np.stack([weights / total[start : start + window] for start in first]).astype(np.float32)
