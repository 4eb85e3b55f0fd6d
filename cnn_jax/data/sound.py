"""A sound file as an example: decoded, mixed to one channel, brought to one rate and one length.

Training, evaluation and prediction read sounds through `SoundPrepare` alone. libsndfile decodes WAV, FLAC, OGG, AIFF
and MP3, by the package soundfile.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.images import CorruptImage
from cnn_jax.data.keyed import uniform
from cnn_jax.data.prepare import Prepare

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".mp3")
MOST = 2**28  # samples of a file that are read, all channels together: an hour and a half in stereo at 44.1 kHz
EXAMPLE = 2**26  # samples of an example
FINEST = 1000  # a rate is changed by a quotient of numbers up to this: 44100 to 16000 Hz is 160 / 441
INSTALL = "sounds are read by the package soundfile: pip install soundfile, or this with the extra 'sound'"

Samples = NDArray[np.float32]


class CorruptSound(CorruptImage):
    """A sound file that cannot be decoded, or has nothing in it that could be heard."""


@dataclass(frozen=True, kw_only=True)
class SoundPrepare(Prepare):
    """How sounds are read: as float32 [L, 1] in [-1, 1].

    rate: samples a second that all are brought to, by a polyphase filter. Several channels are mixed to their mean.
    seconds: of an example. What is shorter has silence behind it; of what is longer the beginning is taken, and a
      prediction is the mean over windows that cover all of it.
    random: training sees a random part of what is longer in place of the beginning.
    """

    rate: int = 16_000
    seconds: float = 1.0
    random: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.rate, int) and not isinstance(self.rate, bool) and 100 <= self.rate <= 1_000_000):
            raise ValueError(f"rate must be a whole number of 100 to 1,000,000 samples a second, not {self.rate!r}")
        if not (isinstance(self.seconds, int | float) and 1 <= self.seconds * self.rate <= EXAMPLE):
            raise ValueError(
                f"seconds must make 1 to {EXAMPLE:,} samples at {self.rate} a second, not {self.seconds!r}"
            )
        if not isinstance(self.random, bool):
            raise ValueError(f"random must be True or False, not {self.random!r}")

    @property
    def length(self) -> int:
        """Of an example in samples."""
        return round(self.seconds * self.rate)

    @property
    def draws(self) -> bool:
        return self.random

    def settings(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {"rate": self.rate, "seconds": self.seconds}


class Sound(NamedTuple):
    """What a file holds: samples float32 [n, C], of which there are `rate` a second."""

    samples: Samples
    rate: int


class Traits(NamedTuple):
    """What is said of a sound as it is stored."""

    rate: int
    channels: int
    seconds: float
    silent: bool


def traits_of(sound: Sound) -> Traits:
    """Those of a sound."""
    samples, rate = sound
    return Traits(rate, samples.shape[1], len(samples) / rate, not samples.any())


def header(path: Path) -> Traits:
    """Those of a sound file that was decoded before, as its beginning says them; not whether it is silent."""
    import soundfile

    found = soundfile.info(str(path))
    return Traits(found.samplerate, found.channels, found.duration, False)


def said_of(traits: Mapping[str, Traits], prepare: SoundPrepare, longer: str) -> Iterator[str]:
    """What is changed in reading sounds {name: traits}, a line for each; `longer`: what is made of such sounds."""
    kinds: dict[str, tuple[Callable[[Traits], bool], Callable[[Traits], str]]] = {
        f"have another rate and are resampled to {prepare.rate} Hz (rate)": (
            lambda one: one.rate != prepare.rate,
            lambda one: f" of {one.rate} Hz",
        ),
        "have several channels and are mixed to one": (
            lambda one: one.channels > 1,
            lambda one: f" of {one.channels}",
        ),
        f"are longer than {prepare.seconds:g} s{longer}": (
            lambda one: one.seconds > prepare.seconds + 0.5 / prepare.rate,
            lambda one: f" of {one.seconds:.4g} s",
        ),
        "are silent": (lambda one: one.silent, lambda one: ""),
    }
    for text, (has, shown) in kinds.items():
        if found := sorted(name for name, one in list(traits.items()) if has(one)):
            yield f"{len(found)} of {len(traits)} sounds {text}, as {found[0]}{shown(traits[found[0]])}"


def decode_sound(data: bytes) -> Sound:
    """The sound in a file held in memory.

    Raises CorruptSound for what is no sound, a damaged one or one that is too long, and ValueError where the package
    that decodes is not installed.
    """
    try:
        import soundfile  # with a library of its own, for those who read sounds
    except (ImportError, OSError):
        raise ValueError(INSTALL) from None
    try:
        with soundfile.SoundFile(BytesIO(data)) as file:
            if (count := file.frames * file.channels) > MOST:
                raise CorruptSound(f"it declares {count:,} samples, more than {MOST:,}: cut it into pieces")
            return Sound(file.read(dtype="float32", always_2d=True), int(file.samplerate))
    except (soundfile.SoundFileError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rpartition(">: ")[2] or type(error).__name__
        raise CorruptSound(f"cannot decode the sound ({reason})") from None


def brought_to(sound: Sound, rate: int) -> Samples:
    """One channel [n] at another rate.

    Raises CorruptSound for a sound without samples, and one that has samples that are no numbers.
    """
    samples = sound.samples
    if not samples.size:
        raise CorruptSound("it has no samples")
    if not np.isfinite(samples).all():
        raise CorruptSound(f"{int((~np.isfinite(samples)).sum())} of its samples are nan or infinite")
    mixed = samples.mean(1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if sound.rate == rate:
        return np.ascontiguousarray(mixed)
    from scipy.signal import resample_poly  # a third of a second

    ratio = Fraction(rate, sound.rate).limit_denominator(FINEST)
    return resample_poly(mixed, ratio.numerator, ratio.denominator).astype(np.float32)


def fit_sound(samples: Samples, prepare: SoundPrepare, key: int | None = None) -> Samples:
    """Samples [n] at the rate of `prepare` as an example [L, 1]; with a key, and where it says so, a random part."""
    start = 0
    if key is not None and prepare.random:
        start = int(uniform(np.uint64(key), 1)[0] * (max(len(samples) - prepare.length, 0) + 1))
    return _padded(samples[start : start + prepare.length], prepare.length)


def windows(samples: Samples, prepare: SoundPrepare) -> Samples:
    """Samples [n] as examples [W, L, 1] that overlap by half or more and cover all; one where they fit an example."""
    length = prepare.length
    return np.stack([_padded(samples[start : start + length], length) for start in starts(len(samples), prepare)])


def starts(count: int, prepare: SoundPrepare) -> list[int]:
    """The first sample of each window of a sound of so many."""
    last = count - prepare.length
    if last <= 0:
        return [0]
    number = 1 + math.ceil(last / max(prepare.length // 2, 1))
    found: list[int] = np.linspace(0, last, number).round().astype(int).tolist()
    return found


def _padded(samples: Samples, length: int) -> Samples:
    return np.pad(samples, (0, length - len(samples)))[:, None]
