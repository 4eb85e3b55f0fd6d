"""Augmentations of 1-D signals [B, L, C]: shift and stretch in time, scale the amplitude, add noise.

Targets with a place are in pixels, not in samples, so they are refused, as is a value that might depend on either.
"""

import jax
import jax.numpy as jnp

from cnn_jax.augment.draw import between, floats, fold, integer, log_between, only, require, uniform
from cnn_jax.batch import Batch
from cnn_jax.ops.spectrogram import sounding


def shift1d(keys: jax.Array, batch: Batch, *, samples: int = 8, circular: bool = True) -> Batch:
    """Move by a whole number of samples, uniform in [-samples, samples]; zeros come in unless `circular`."""
    _check(batch, "shift1d", "move")
    offset = integer(uniform(keys), 2 * samples + 1) - samples

    def moved(signal: jax.Array) -> jax.Array:
        length = signal.shape[1]
        require(0 <= samples <= length, f"shift1d of {samples} samples does not suit signals of {length}")
        source = jnp.arange(length) - offset[:, None]
        result = jnp.take_along_axis(signal, (source % length)[..., None], axis=1, mode="promise_in_bounds")
        return result if circular else jnp.where(((source >= 0) & (source < length))[..., None], result, 0)

    return batch.map(moved, "signal")


def scale1d(keys: jax.Array, batch: Batch, *, factor: tuple[float, float] = (0.8, 1.25)) -> Batch:
    """Multiply by a factor uniform in `factor`, one per example."""
    _check(batch, "scale1d", "scale")
    drawn = between(uniform(keys), *factor)[:, None, None]
    return batch.map(lambda signal: signal * drawn, "signal")


def gain1d(keys: jax.Array, batch: Batch, *, decibels: tuple[float, float] = (-12.0, 6.0)) -> Batch:
    """Make louder or quieter by so many decibels, uniform in `decibels`, one number per example."""
    _check(batch, "gain1d", "scale")
    require(decibels[0] <= decibels[1], f"gain1d decibels must be low <= high; got {decibels}")
    factor = 10 ** (between(uniform(keys), *decibels) / 20)[:, None, None]
    return batch.map(lambda signal: signal * factor, "signal")


def noise1d(
    keys: jax.Array, batch: Batch, *, snr: tuple[float, float] = (5.0, 40.0), probability: float = 1.0
) -> Batch:
    """Add white noise whose power is `snr` decibels below that of the sound, uniform in between, one per example.

    The silence at the end of a sound, by which it is padded, stays silent and does not count.
    """
    _check(batch, "noise1d", "disturb")
    require(snr[0] <= snr[1], f"noise1d snr must be low <= high; got {snr}")
    require(0 <= probability <= 1, f"noise1d probability must lie in [0, 1]; got {probability}")
    u = uniform(keys, 2)
    share = jnp.where(u[:, 1] < probability, 10 ** (-between(u[:, 0], *snr) / 20), 0)[:, None, None]

    def noisy(signal: jax.Array) -> jax.Array:
        length = sounding(signal)
        heard = jnp.arange(signal.shape[1]) < length[:, None]
        power = jnp.square(signal).sum((1, 2)) / jnp.maximum(length * signal.shape[2], 1)
        noise = jax.vmap(lambda key: jax.random.normal(key, signal.shape[1:]))(fold(keys, 1))
        return signal + share * jnp.sqrt(power)[:, None, None] * noise * heard[..., None]

    return batch.map(noisy, "signal")


def stretch1d(keys: jax.Array, batch: Batch, *, factor: tuple[float, float] = (0.8, 1.25)) -> Batch:
    """Stretch time about the middle by a factor log-uniform in `factor` (above 1 slows down), linear in between.

    Past either end the signal is zero.
    """
    _check(batch, "stretch1d", "stretch")
    require(0 < factor[0] <= factor[1], f"stretch1d factor must be 0 < low <= high; got {factor}")
    step = 1 / log_between(uniform(keys), *factor)
    return batch.map(lambda signal: _stretched(signal, step), "signal")


def _stretched(signal: jax.Array, step: jax.Array) -> jax.Array:
    length = signal.shape[1]
    middle = (length - 1) / 2
    source = jnp.clip((jnp.arange(length, dtype=jnp.float32) - middle) * step[:, None] + middle, -1, length)
    left = jnp.floor(source)
    result = jnp.zeros_like(signal)
    for position, weight in ((left, left + 1 - source), (left + 1, source - left)):
        index = jnp.clip(position, 0, length - 1).astype(jnp.int32)[..., None]
        value = jnp.take_along_axis(signal, index, axis=1, mode="promise_in_bounds")
        weight = jnp.where((position >= 0) & (position < length), weight, 0)
        result += weight[..., None] * value
    return result


def _check(batch: Batch, augmentation: str, verb: str) -> None:
    floats(batch, augmentation, "signal")
    only(batch, augmentation, verb, ("signal", "image", "tokens", "label", "labels"))
