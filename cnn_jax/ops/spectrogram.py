"""Spectrograms of sound on the device: STFT, mel bands, their logarithm, cepstral coefficients.

All are pure functions of signals x [B, L, C] to [B, frames, bins, C] that can be differentiated. Libraries differ in a
dozen small things, so a *convention* says which one is followed: "librosa", "torchaudio", "kaldi" (compute-fbank-feats,
compute-mfcc-feats; dither is left out) or "tensorflow" (audio_spectrogram and mfcc of its speech commands example).
Every clip is computed by itself: its numbers depend on no other of its batch.

Samples are in [-1, 1] for all of them; what Kaldi expects, 32768 times that, is the convention's own business.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.ops.conventions import Convention, Edges, Log, frame_count, lengths, settled
from cnn_jax.ops.mel import Shape, cosines, mel_filters, window_of


def stft(
    x: jax.Array,
    *,
    window: int = 2048,
    hop: int = 512,
    fft: int = 0,
    edges: Edges = "zeros",
    shape: Shape = "hann",
    periodic: bool = True,
) -> jax.Array:
    """The short-time Fourier transform [B, frames, fft // 2 + 1, C] of signals [B, L, C], complex.

    The settings are in samples and as in `Convention`. Raises ValueError for a clip that is too short.
    """
    fft = fft or window
    if not 0 < hop or not 0 < window <= fft:
        raise ValueError(f"a hop of {hop}, a window of {window} and a transform of {fft} samples make no spectrogram")
    parts = _frames_of(jnp.moveaxis(x, -1, 1), window, hop, fft, edges)
    return jnp.moveaxis(_transformed(parts, window_of(window, shape, periodic=periodic), fft), 1, -1)


def mel(
    x: jax.Array,
    *,
    rate: float,
    convention: str = "librosa",
    window: float | None = None,
    hop: float | None = None,
    fft: int | None = None,
    mels: int | None = None,
    low: float | None = None,
    high: float | None = None,
    edges: Edges | None = None,
    power: int | None = None,
) -> jax.Array:
    """The power in mel bands [B, frames, mels, C] of signals [B, L, C].

    rate: samples a second. convention: the library that is followed, see CONVENTIONS; what else is given, as
    `Convention` has it, takes the place of that library's default.
    Raises ValueError for settings that do not fit one another, or a clip that is too short for one frame.
    """
    how = settled(convention, window=window, hop=hop, fft=fft, mels=mels, low=low, high=high, edges=edges, power=power)
    return jnp.moveaxis(_bands(_frames(jnp.moveaxis(x, -1, 1), how, rate), how, rate), 1, -1)


def log_mel(
    x: jax.Array,
    *,
    rate: float,
    convention: str = "librosa",
    window: float | None = None,
    hop: float | None = None,
    fft: int | None = None,
    mels: int | None = None,
    low: float | None = None,
    high: float | None = None,
    edges: Edges | None = None,
    log: Log | None = None,
    floor: float | None = None,
    top_db: float | None = None,
    relative: bool = False,
) -> jax.Array:
    """The logarithm of `mel`, with the settings of that, and log and floor as `Convention` has them.

    top_db: what is so far below the loudest of the clip is raised to that, in the unit of `log`. By default nothing is,
    though librosa and torchaudio do: a clip then depends on what it is padded with.
    relative: the loudest of the clip becomes 0, as with ref=np.max of librosa.
    """
    how = settled(
        convention,
        window=window,
        hop=hop,
        fft=fft,
        mels=mels,
        low=low,
        high=high,
        edges=edges,
        log=log,
        floor=floor,
    )
    bands = _bands(_frames(jnp.moveaxis(x, -1, 1), how, rate), how, rate)
    return jnp.moveaxis(_limited(_log(bands, how), top_db, relative), 1, -1)


def mfcc(
    x: jax.Array,
    *,
    rate: float,
    convention: str = "librosa",
    coefficients: int | None = None,
    window: float | None = None,
    hop: float | None = None,
    fft: int | None = None,
    mels: int | None = None,
    low: float | None = None,
    high: float | None = None,
    edges: Edges | None = None,
    log: Log | None = None,
    floor: float | None = None,
    top_db: float | None = None,
) -> jax.Array:
    """Mel-frequency cepstral coefficients [B, frames, coefficients, C] (Davis & Mermelstein 1980), as of `log_mel`."""
    how = settled(
        convention,
        coefficients=coefficients,
        window=window,
        hop=hop,
        fft=fft,
        mels=mels,
        low=low,
        high=high,
        edges=edges,
        log=log,
        floor=floor,
    )
    parts = _frames(jnp.moveaxis(x, -1, 1), how, rate)
    bands = _limited(_log(_bands(parts, how, rate), how), top_db)
    transform = cosines(how.mels, how.coefficients, orthonormal=how.orthonormal)
    if how.lifter:
        transform *= 1 + how.lifter / 2 * np.sin(np.pi * np.arange(how.coefficients) / how.lifter)
    found = _product(bands, transform)
    if how.energy:
        energy = jnp.log(jnp.maximum(jnp.square(_levelled(parts, how)).sum(-1), how.floor))
        found = found.at[..., 0].set(energy)
    return jnp.moveaxis(found, 1, -1)


def sounding(x: jax.Array) -> jax.Array:
    """How many samples [B] of each sound [B, L, C] come before its silent end, by which clips are padded."""
    heard = jnp.any(x != 0, -1)
    return jnp.max(jnp.where(heard, jnp.arange(1, x.shape[1] + 1), 0), 1)


def frames(x: jax.Array, size: int, hop: int) -> jax.Array:
    """Pieces [..., frames, size] of x [..., L], a new one every `hop` samples; what is left at the end is left out."""
    starts = hop * jnp.arange(1 + (x.shape[-1] - size) // hop)
    # Which XLA copies as it multiplies by the window, and adds up again in one pass for a gradient.
    return jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(x, start, size, -1), out_axes=-2)(starts)


def _frames_of(x: jax.Array, window: int, hop: int, fft: int, edges: Edges) -> jax.Array:
    frame_count(x.shape[-1], window, hop, fft, edges)
    if edges == "none":
        return frames(x, window, hop)
    sides = [(0, 0)] * (x.ndim - 1) + [(fft // 2, fft // 2)]
    return frames(jnp.pad(x, sides, mode="constant" if edges == "zeros" else "reflect"), fft, hop)


def _transformed(parts: jax.Array, window: np.ndarray, fft: int) -> jax.Array:
    """Frames [..., T, N] times the window, which is centred where it is shorter, to their spectra [..., T, K]."""
    before = (parts.shape[-1] - len(window)) // 2
    whole = np.pad(window, (before, parts.shape[-1] - len(window) - before))
    return jnp.fft.rfft(parts * whole.astype(parts.dtype), fft)


def _frames(x: jax.Array, how: Convention, rate: float) -> jax.Array:
    """Of x [B, C, L], as [B, C, T, N]."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"a spectrogram is made of samples in [-1, 1], not of {x.dtype}")
    parts = _frames_of(x.astype(jnp.promote_types(x.dtype, jnp.float32)), *lengths(how, rate), how.edges)
    return parts * how.gain if how.gain != 1 else parts


def _levelled(parts: jax.Array, how: Convention) -> jax.Array:
    return parts - parts.mean(-1, keepdims=True) if how.level else parts


def _bands(parts: jax.Array, how: Convention, rate: float) -> jax.Array:
    """Frames [B, C, T, N] to the power (or magnitude) in bands [B, C, T, M]."""
    window, _, fft = lengths(how, rate)
    parts = _levelled(parts, how)
    if how.emphasis:
        before = jnp.concatenate([parts[..., :1], parts[..., :-1]], -1)  # the first sample has itself before it
        parts = parts - how.emphasis * before
    spectrum = _transformed(parts, window_of(window, how.shape, periodic=how.periodic), fft)
    found = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    if how.power == 1:
        # The derivative of a root at 0 is infinite, and there is no sound there to learn from.
        silent = found <= 0
        found = jnp.where(silent, 0, jnp.sqrt(jnp.where(silent, 1, found)))
    filters = mel_filters(
        rate,
        fft,
        how.mels,
        how.low,
        how.high or rate / 2,
        scale=how.scale,
        straight_in_mel=how.straight_in_mel,
        area=how.area,
        skip_lowest=how.skip_lowest,
    )
    return _product(found, filters)


def _product(x: jax.Array, matrix: np.ndarray) -> jax.Array:
    # Accelerators would round the factors to 10 bits, which is seen in what is quiet.
    return jnp.matmul(x, matrix.astype(x.dtype), precision=jax.lax.Precision.HIGHEST)


def _log(bands: jax.Array, how: Convention) -> jax.Array:
    if how.log == "ln_plus":
        return jnp.log(bands + how.floor)
    found = jnp.log(jnp.maximum(bands, how.floor))
    return found * (10 / math.log(10)) if how.log == "db" else found


def _limited(bands: jax.Array, top_db: float | None, relative: bool = False) -> jax.Array:
    """Logarithms [B, C, T, M], those of each clip no further below its greatest than `top_db`, or relative to that."""
    if top_db is None and not relative:
        return bands
    greatest = bands.max((1, 2, 3), keepdims=True)
    bands = bands if top_db is None else jnp.maximum(bands, greatest - top_db)
    return bands - greatest if relative else bands
