"""Sounds as people look at them: pictures of their spectra, louder brighter, low tones below."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.files import picture_of, reads_pictures, sound_of
from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.spec import Spec
from cnn_jax.ops.mel import mel_filters, window_of

WINDOW = 0.032  # seconds
BINS, FRAMES = 64, 1200  # of a picture, the latter at most
DEPTH = 80.0  # decibels below the loudest that are told from silence


def looked_at(
    path: Path, example: NDArray[np.generic], spec: Spec, longest: int
) -> tuple[NDArray[np.generic], tuple[int, ...]]:
    """What is drawn of an input, and its own height and width: the whole picture or sound, else the example.

    Raises OSError or ValueError where the file can no longer be read.
    """
    if isinstance(spec.prepare, SoundPrepare):
        whole = spectrum(sound_of(path, spec.prepare)[:, None], spec.prepare.rate)
        return whole, whole.shape
    return picture_of(path, spec, longest) if reads_pictures(spec) else (example, example.shape)


def spectrum(samples: NDArray[np.generic], rate: int) -> NDArray[np.uint8]:
    """The log-mel spectrum of a sound [L, C] as a picture uint8 [BINS * k, frames, 3] of DEPTH decibels."""
    from matplotlib import colormaps

    size = max(1 << int(np.log2(max(WINDOW * rate, 16))), 16)
    mono = np.asarray(samples, np.float64).mean(1)
    hop = max(size // 4, -(-len(mono) // FRAMES))
    padded = np.pad(mono, (size // 2, size // 2 + hop))
    parts = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][: 1 + len(mono) // hop]
    power = np.abs(np.fft.rfft(parts * window_of(size))) ** 2
    bins = min(BINS, size // 8)
    bands = 10 * np.log10(np.maximum(power @ mel_filters(rate, size, bins, 0, rate / 2), 1e-10))
    shade = np.clip((bands - bands.max()) / DEPTH + 1, 0, 1) if power.any() else np.zeros_like(bands)
    tall = max(shade.shape[0] * 2 // (3 * bins), 1)  # so that a picture is about three wide to two high
    picture = np.repeat(shade.T[::-1], tall, axis=0)
    return (colormaps["magma"](picture)[..., :3] * 255).astype(np.uint8)
