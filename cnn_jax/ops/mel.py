"""The constants of spectra: windows, mel filters and cosine transforms, computed once in float64 by NumPy."""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Scale = Literal["slaney", "htk"]
Shape = Literal["hann", "povey"]

BREAK, PER_MEL = 1000.0, 200 / 3  # Slaney's scale is linear up to 1 kHz, in steps of 66.67 Hz, and logarithmic above
LOG_STEP = np.log(6.4) / 27


def to_mel(hertz: ArrayLike, scale: Scale = "htk") -> Floats:
    """Pitch of frequencies: 2595 log10(1 + f / 700) (O'Shaughnessy 1987) as HTK and Kaldi have it, or Slaney's (1998).

    Kaldi and TensorFlow write 1127 ln(1 + f / 700), which differs by a factor that no filter depends on.
    """
    hertz = np.asarray(hertz, np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    above = BREAK / PER_MEL + np.log(np.maximum(hertz, BREAK) / BREAK) / LOG_STEP
    return np.where(hertz < BREAK, hertz / PER_MEL, above)


def from_mel(mel: ArrayLike, scale: Scale = "htk") -> Floats:
    """The inverse of `to_mel`."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    first = BREAK / PER_MEL
    return np.where(mel < first, mel * PER_MEL, BREAK * np.exp(LOG_STEP * (np.maximum(mel, first) - first)))


def mel_filters(
    rate: float,
    fft: int,
    mels: int,
    low: float,
    high: float,
    *,
    scale: Scale = "htk",
    straight_in_mel: bool = False,
    area: bool = False,
    skip_lowest: bool = False,
) -> Floats:
    """Triangles [fft // 2 + 1, mels] over the bins of a spectrum, whose corners are evenly spaced in mel.

    rate, low, high: in Hz. straight_in_mel: their sides are straight over mel, else over Hz. area: each has the area 1
    in Hz, else the height 1. skip_lowest: bins below low + 1.5 bins count nowhere, as TensorFlow has it, and HTK.
    Raises ValueError where low, high and rate are in no order. Warns of bands that no bin falls into.
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"mel filters need 0 <= low < high <= rate / 2, not {low:g}, {high:g} and {rate / 2:g} Hz")
    corners = np.linspace(to_mel(low, scale), to_mel(high, scale), mels + 2)
    bins = np.arange(fft // 2 + 1) * (rate / fft)
    place: NDArray[Any]
    ends: NDArray[Any]
    if straight_in_mel:
        place, ends = to_mel(bins, scale)[:, None], corners
    else:
        place, ends = bins[:, None], from_mel(corners, scale)
    steps = np.diff(ends)
    found: NDArray[Any] = np.maximum(np.minimum((place - ends[:-2]) / steps[:-1], (ends[2:] - place) / steps[1:]), 0)
    if empty := int((found.max(0) <= 0).sum()):
        warnings.warn(
            f"{empty} of {mels} mel bands lie between two bins of the spectrum and are always silent: take fewer "
            "(mels) or a longer transform (fft)",
            stacklevel=2,
        )
    if area:
        hertz = from_mel(corners, scale)
        found *= 2 / (hertz[2:] - hertz[:-2])
    if skip_lowest:
        found[: int(1.5 + low * fft / rate)] = 0
    return found


def window_of(size: int, shape: Shape = "hann", *, periodic: bool = True) -> Floats:
    """[size] Hann's window, or Kaldi's "povey", Hann's to the power .85. periodic: its first zero is not repeated."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / max(size if periodic else size - 1, 1))
    return hann**0.85 if shape == "povey" else hann


def cosines(mels: int, coefficients: int, *, orthonormal: bool = True) -> Floats:
    """The DCT-II [mels, coefficients]. orthonormal: the first has the factor sqrt(1 / mels), not sqrt(2 / mels)."""
    if not 1 <= coefficients <= mels:
        raise ValueError(f"there are 1 to {mels} coefficients of {mels} mel bands, not {coefficients}")
    found = np.cos(np.pi / mels * (np.arange(mels)[:, None] + 0.5) * np.arange(coefficients)) * np.sqrt(2 / mels)
    if orthonormal:
        found[:, 0] /= np.sqrt(2)
    return found
