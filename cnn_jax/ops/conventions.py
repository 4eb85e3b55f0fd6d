"""How four libraries make a spectrogram of a sound, as one record each.

They differ in a dozen small things, of which each makes a network worthless that was trained with another.
"""

from typing import Literal, NamedTuple

import numpy as np

from cnn_jax.ops.mel import Scale, Shape

Edges = Literal["zeros", "reflect", "none"]
Log = Literal["db", "ln", "ln_plus"]


class Convention(NamedTuple):
    """How a library does it. Lengths are in samples, or in seconds where they are below 1.

    window, hop: of a frame, and from one to the next. fft: length of the transform; 0 = the window's, -1 = the next
      power of two.
    mels, low, high: bands and their limits in Hz; high = 0 is half the rate.
    scale, straight_in_mel, area, skip_lowest: of the filters, see `mel.mel_filters`.
    edges: what stands before and after the clip, whose frames are centred at 0, hop, 2 hop, ...: "zeros" or its
      reflection; "none": frames lie within the clip.
    shape, periodic: of the window, see `mel.window_of`.
    emphasis: of a frame, what is subtracted of the sample before; level: its mean is subtracted first.
    gain: what samples are multiplied by.
    power: 2, or 1 for bands of magnitudes.
    log, floor: "db" 10 log10(max(floor, S)), "ln" ln(max(floor, S)), "ln_plus" ln(S + floor).
    coefficients: of the cosine transform; orthonormal: see `mel.cosines`; lifter: their weights are
      1 + lifter / 2 sin(pi k / lifter); energy: the logarithm of the frame's energy is in the place of the first.
    """

    window: float
    hop: float
    fft: int
    mels: int
    low: float
    high: float
    scale: Scale
    straight_in_mel: bool
    area: bool
    skip_lowest: bool
    edges: Edges
    shape: Shape
    periodic: bool
    emphasis: float
    level: bool
    gain: float
    power: int
    log: Log
    floor: float
    coefficients: int
    orthonormal: bool
    lifter: float
    energy: bool


LIBROSA = Convention(
    window=2048,
    hop=512,
    fft=0,
    mels=128,
    low=0,
    high=0,
    scale="slaney",
    straight_in_mel=False,
    area=True,
    skip_lowest=False,
    edges="zeros",
    shape="hann",
    periodic=True,
    emphasis=0,
    level=False,
    gain=1,
    power=2,
    log="db",
    floor=1e-10,
    coefficients=20,
    orthonormal=True,
    lifter=0,
    energy=False,
)
TORCHAUDIO = LIBROSA._replace(window=400, hop=200, scale="htk", area=False, edges="reflect", coefficients=40)
KALDI = Convention(
    window=0.025,
    hop=0.01,
    fft=-1,
    mels=23,
    low=20,
    high=0,
    scale="htk",
    straight_in_mel=True,
    area=False,
    skip_lowest=False,
    edges="none",
    shape="povey",
    periodic=False,
    emphasis=0.97,
    level=True,
    gain=32768,
    power=2,
    log="ln",
    floor=float(np.finfo(np.float32).eps),
    coefficients=13,
    orthonormal=True,
    lifter=22,
    energy=True,
)
TENSORFLOW = KALDI._replace(
    window=0.03,
    mels=40,
    high=4000,
    skip_lowest=True,
    shape="hann",
    periodic=True,
    emphasis=0,
    level=False,
    gain=1,
    power=1,
    floor=1e-12,
    orthonormal=False,
    lifter=0,
    energy=False,
)
CONVENTIONS = {"librosa": LIBROSA, "torchaudio": TORCHAUDIO, "kaldi": KALDI, "tensorflow": TENSORFLOW}


def settled(convention: str, **settings: float | str | None) -> Convention:
    """A convention with other settings, of which None leaves its own. Raises ValueError for what is unknown."""
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {', '.join(CONVENTIONS)}, not {convention!r}")
    given = {name: value for name, value in settings.items() if value is not None}
    how = CONVENTIONS[convention]._replace(**given)  # type: ignore[arg-type]
    for name, known in (("edges", ("zeros", "reflect", "none")), ("log", ("db", "ln", "ln_plus")), ("power", (1, 2))):
        if getattr(how, name) not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, not {getattr(how, name)!r}")
    return how


def lengths(how: Convention, rate: float) -> tuple[int, int, int]:
    """Window, hop and transform in samples at a rate. Raises ValueError where they fit neither it nor one another."""
    window, hop = (int(length if length >= 1 else rate * length + 1e-6) for length in (how.window, how.hop))
    if hop < 1 or window < 1:
        raise ValueError(f"a window of {how.window:g} and a hop of {how.hop:g} have less than a sample at {rate:g} Hz")
    fft = {0: window, -1: 1 << (window - 1).bit_length()}.get(how.fft, how.fft)
    if fft < window:
        raise ValueError(f"a transform of {fft} samples is shorter than its window of {window}")
    return window, hop, fft


def frame_count(length: int, window: int, hop: int, fft: int, edges: Edges) -> int:
    """How many frames a clip of `length` samples has. Raises ValueError, in one line, where it is too short for one."""
    padded, size = (length, window) if edges == "none" else (length + 2 * (fft // 2), fft)
    least = {"none": window, "zeros": 1, "reflect": fft // 2 + 1}[edges]
    if length < least:
        raise ValueError(f"a clip of {length} samples is too short for a spectrogram, which needs {least}: pad it")
    return 1 + (padded - size) // hop
