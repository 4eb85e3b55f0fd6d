from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment.signal import gain1d, noise1d, scale1d, shift1d, stretch1d
from cnn_jax.batch import Batch

COUNT = 700
SIGNAL = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), COUNT)


@pytest.fixture
def data(make_batch) -> Batch:
    return make_batch({"signal": np.broadcast_to(SIGNAL, (COUNT, 10, 2)), "label": jnp.zeros(COUNT)})


@pytest.mark.parametrize("circular", [True, False])
def test_shift_moves_by_all_offsets_equally(data: Batch, circular: bool) -> None:
    result = np.asarray(shift1d(KEYS, data, samples=3, circular=circular)["signal"])
    padded = np.pad(SIGNAL, ((3, 3), (0, 0)))
    moved = [np.roll(SIGNAL, k, axis=0) if circular else padded[3 - k : 13 - k] for k in range(-3, 4)]
    hits = np.array([(result == one).all(axis=(1, 2)).sum() for one in moved])
    assert hits.sum() == COUNT and np.abs(hits - 100).max() < 50


def test_scale_multiplies_by_a_uniform_factor(data: Batch) -> None:
    result = np.asarray(scale1d(KEYS, data, factor=(0.5, 2.0))["signal"])
    factor = result / SIGNAL
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1], factor.shape), rtol=1e-5)
    assert factor.min() >= 0.499 and factor.max() <= 2.001 and abs(factor.mean() - 1.25) < 0.07


def test_gain_is_in_decibels(data: Batch) -> None:
    decibels = 20 * np.log10(np.asarray(gain1d(KEYS, data, decibels=(-20.0, 10.0))["signal"]) / SIGNAL)
    np.testing.assert_allclose(decibels, np.broadcast_to(decibels[:, :1, :1], decibels.shape), atol=1e-4)
    assert decibels.min() >= -20.01 and decibels.max() <= 10.01 and abs(decibels.mean() + 5) < 1


def test_noise_has_its_share_of_the_power_and_the_padding_stays_silent(make_batch) -> None:
    sounds = np.zeros((COUNT, 200, 1), np.float32)
    sounds[:, :150] = 0.1 * np.sin(np.arange(150.0))[:, None]
    batch = make_batch({"signal": sounds, "label": jnp.zeros(COUNT)})
    added = np.asarray(noise1d(KEYS, batch, snr=(10.0, 10.0), probability=0.5)["signal"]) - sounds
    assert not added[:, 150:].any()
    noisy = added.any((1, 2))
    assert abs(noisy.mean() - 0.5) < 0.1
    power = np.square(added[noisy, :150]).mean((1, 2)) / np.square(sounds[0, :150]).mean()
    assert abs(power.mean() - 0.1) < 0.005 and power.std() < 0.03


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_stretch_equals_numpy_interpolation(data: Batch, factor: float) -> None:
    few = jax.tree.map(lambda array: array[:3], data)
    result = np.asarray(stretch1d(KEYS[:3], few, factor=(factor, factor))["signal"])
    source = 4.5 + (np.arange(10) - 4.5) / factor
    for channel in range(2):
        padded = np.interp(source, np.arange(-1, 11), np.pad(SIGNAL[:, channel], 1), left=0, right=0)
        np.testing.assert_allclose(result[1, :, channel], padded, atol=1e-5)


def test_no_effect_and_nonsense(data: Batch, make_batch) -> None:
    for still in (
        partial(shift1d, samples=0),
        partial(scale1d, factor=(1.0, 1.0)),
        partial(stretch1d, factor=(1.0, 1.0)),
    ):
        np.testing.assert_array_equal(still(KEYS, data)["signal"], data["signal"])
    with pytest.raises(ValueError, match="samples"):
        shift1d(KEYS, data, samples=11)
    with pytest.raises(ValueError, match="factor"):
        stretch1d(KEYS, data, factor=(2.0, 1.0))
    with pytest.raises(ValueError, match="shift1d needs a field of the role signal; the batch has image"):
        shift1d(KEYS, make_batch({"image": jnp.zeros((COUNT, 4, 4, 1)), "label": jnp.zeros(COUNT)}))
