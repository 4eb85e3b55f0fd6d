"""Sounds as people look at them: their spectra over seconds and hertz, louder brighter, low tones below."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cnn_jax.data.files import picture_of, reads_pictures, sound_of
from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.spec import Spec
from cnn_jax.ops.mel import mel_filters, to_mel, window_of

WINDOW = 0.032  # seconds
BINS, FRAMES = 64, 1200  # of a picture, at most
DEPTH = 80.0  # decibels below the loudest that are told from silence
HERTZ = [one * 10**power for power in range(5, -1, -1) for one in (5, 2, 1)]  # that may be written at the side
APART = 7  # how many of them there is room for


class Spectrum(NamedTuple):
    """picture: uint8 [bins, frames, 3] of the decibels in bands of mel, the lowest last; rate: of the sound in Hz."""

    picture: NDArray[np.uint8]
    seconds: float
    rate: int

    def height(self, hertz: float) -> float:
        """Where a frequency lies, in bins from below."""
        return float(to_mel(hertz) / to_mel(self.rate / 2)) * (len(self.picture) + 1) - 0.5


def looked_at(
    path: Path, example: NDArray[np.generic], spec: Spec, longest: int
) -> tuple[NDArray[np.generic] | Spectrum, tuple[int, ...]]:
    """What is drawn of an input, and its own height and width: the whole picture or sound, else the example.

    Raises OSError or ValueError where the file can no longer be read.
    """
    if isinstance(spec.prepare, SoundPrepare):
        whole = spectrum(sound_of(path, spec.prepare)[:, None], spec.prepare.rate)
        return whole, whole.picture.shape
    return picture_of(path, spec, longest) if reads_pictures(spec) else (example, example.shape)


def spectrum(samples: NDArray[np.generic], rate: int) -> Spectrum:
    """The log-mel spectrum of a sound [L, C], of DEPTH decibels."""
    size = max(1 << int(np.log2(max(WINDOW * rate, 16))), 16)
    mono = np.asarray(samples, np.float64).mean(1)
    hop = max(size // 4, -(-len(mono) // FRAMES))
    padded = np.pad(mono, (size // 2, size // 2 + hop))
    parts = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][: 1 + len(mono) // hop]
    power = np.abs(np.fft.rfft(parts * window_of(size))) ** 2
    bins = min(BINS, size // 8)
    bands = 10 * np.log10(np.maximum(power @ mel_filters(rate, size, bins, 0, rate / 2), 1e-10))
    shade = np.clip((bands - bands.max()) / DEPTH + 1, 0, 1) if power.any() else np.zeros_like(bands)
    picture = (colormaps["magma"](shade.T[::-1])[..., :3] * 255).astype(np.uint8)
    return Spectrum(picture, len(mono) / rate, rate)


def draw_spectrum(ax: Axes, shown: Spectrum) -> None:
    """Fills the axes with a spectrum, with a few seconds below and a few hertz at the side."""
    bins = len(shown.picture)
    ax.imshow(shown.picture, aspect="auto", extent=(0, shown.seconds, 0, bins), interpolation="antialiased")
    marks = list[int]()
    for hertz in HERTZ:
        room = shown.height(marks[-1]) - bins / APART if marks else bins
        if 0 <= shown.height(hertz) <= room:
            marks.append(hertz)
    names = [f"{hertz / 1000:g} kHz" if hertz >= 1000 else f"{hertz} Hz" for hertz in marks]
    ax.set_yticks([shown.height(hertz) for hertz in marks], names)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_formatter("{x:g} s")
    ax.tick_params(labelsize=7)
