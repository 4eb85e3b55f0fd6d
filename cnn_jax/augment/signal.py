"""Augmentations of 1-D signals [B, L, C]: shift and stretch in time, scale the amplitude."""

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import Batch, between, integer, log_between, require, uniform


def shift1d(keys: jax.Array, batch: Batch, *, samples: int = 8, circular: bool = True) -> Batch:
    """Move by a whole number of samples, uniform in [-samples, samples]; zeros come in unless `circular`."""
    signal = _signals(batch)
    length = signal.shape[1]
    require(0 <= samples <= length, f"shift1d of {samples} samples does not suit signals of {length}")
    offset = integer(uniform(keys), 2 * samples + 1) - samples
    source = jnp.arange(length) - offset[:, None]
    moved = jnp.take_along_axis(signal, (source % length)[..., None], axis=1, mode="promise_in_bounds")
    if not circular:
        moved = jnp.where(((source >= 0) & (source < length))[..., None], moved, 0)
    return {**batch, "image": moved}


def scale1d(keys: jax.Array, batch: Batch, *, factor: tuple[float, float] = (0.8, 1.25)) -> Batch:
    """Multiply by a factor uniform in `factor`, one per signal."""
    return {**batch, "image": _signals(batch) * between(uniform(keys), *factor)[:, None, None]}


def stretch1d(keys: jax.Array, batch: Batch, *, factor: tuple[float, float] = (0.8, 1.25)) -> Batch:
    """Stretch time about the middle by a factor log-uniform in `factor` (above 1 slows down), linear in between.

    Past either end the signal is zero.
    """
    signal = _signals(batch)
    length = signal.shape[1]
    require(0 < factor[0] <= factor[1], f"stretch1d factor must be 0 < low <= high; got {factor}")
    step = 1 / log_between(uniform(keys), *factor)
    middle = (length - 1) / 2
    source = jnp.clip((jnp.arange(length) - middle) * step[:, None] + middle, -1, length)
    left = jnp.floor(source)
    result = jnp.zeros_like(signal)
    for position, weight in ((left, left + 1 - source), (left + 1, source - left)):
        index = jnp.clip(position, 0, length - 1).astype(jnp.int32)[..., None]
        value = jnp.take_along_axis(signal, index, axis=1, mode="promise_in_bounds")
        weight = jnp.where((position >= 0) & (position < length), weight, 0)
        result += weight[..., None] * value
    return {**batch, "image": result}


def _signals(batch: Batch) -> jax.Array:
    signal = batch["image"]
    require(signal.ndim == 3, f"a signal augmentation needs signals [B, L, C]; got shape {signal.shape}")
    return signal
