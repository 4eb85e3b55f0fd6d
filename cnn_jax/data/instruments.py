"""instruments: recorded notes of ten families of instruments, the samples of the soundfont FluidR3 GM.

A sample counts for a family of General MIDI (piano, organ, ...) where all melodic presets that play it are of this one;
those of less than a tenth of a second, right halves of stereo pairs, and the six smallest families are left out.

A fifth is for test, by a checksum of the sample's name: other notes of the same instruments are in train, so that the
test says how well these instruments are known. held_out="instruments" keeps the samples together whose names differ in
the note alone. Another soundfont says how well the families are known: font="timgm6mb" is one split, test,
for `eval --data` and `evaluate.also`.

The files are those of the Debian packages fluid-soundfont-gm and timgm6mb-soundfont, or $CNN_JAX_DATA/FluidR3_GM.sf2
and $CNN_JAX_DATA/TimGM6mb.sf2.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cnn_jax.data import soundfont
from cnn_jax.data.sound import Sound, SoundPrepare
from cnn_jax.data.sounds import Sounds, sound_splits
from cnn_jax.data.source import Splits
from cnn_jax.paths import written

Font = Literal["fluid", "timgm6mb"]
HeldOut = Literal["samples", "instruments"]

FAMILIES = {  # by the number of the first of their eight programs / 8
    **{0: "piano", 1: "chromatic percussion", 2: "organ", 3: "guitar", 4: "bass"},
    **{5: "strings", 7: "brass", 8: "reed", 9: "pipe", 13: "ethnic"},
}
FILES = {"fluid": "FluidR3_GM.sf2", "timgm6mb": "TimGM6mb.sf2"}
PACKAGES = {"fluid": "fluid-soundfont-gm", "timgm6mb": "timgm6mb-soundfont"}
LICENCES = {"fluid": "MIT", "timgm6mb": "GPL-2.0"}
DEBIAN = Path("/usr/share/sounds/sf2")
SHORTEST = 0.1  # seconds
TEST = 0.2
NOTE = re.compile(r"[-_ ]*([A-Ga-g](#|b|s)?-?\d|\d+|[LR])?[-_ ]*(\([LR]\)|[LR])?$")  # the end of a sample's name


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if _file("fluid") else _install("fluid")


def instruments(
    *,
    rate: int = 16_000,
    seconds: float = 1.0,
    random: bool = False,
    font: Font = "fluid",
    held_out: HeldOut = "samples",
) -> Splits:
    """The splits "train" and "test" of FluidR3, or "test" alone of another soundfont, float32 [seconds x rate, 1].

    Args:
      rate, seconds, random: see `SoundPrepare`.
      font: "fluid", or "timgm6mb".
      held_out: what lies on one side of the split as a whole, "samples" or "instruments".

    Raises:
      FileNotFoundError: it is not installed.
      ValueError: another setting, or a damaged file.
    """
    for name, value, known in (("font", font, get_args(Font)), ("held_out", held_out, get_args(HeldOut))):
        if value not in known:
            raise ValueError(f"instruments: {name} must be one of {', '.join(known)}, not {value!r}")
    prepare = SoundPrepare(rate=rate, seconds=seconds, random=random)
    file = _file(font)
    if file is None:
        raise FileNotFoundError(f"instruments: its sounds are not installed: {_install(font)}")
    every = soundfont.read(file)
    chosen = [(sample, _family(sample)) for sample in every]
    found = [(sample, family) for sample, family in chosen if family is not None]
    groups: dict[str, list[tuple[soundfont.Sample, int]]] = {"train": [], "test": []}
    for sample, family in found:
        groups["test" if font != "fluid" or _is_test(sample.name, held_out) else "train"].append((sample, family))
    splits = {split: _sounds(part, file.name) for split, part in groups.items() if part}
    left = len(every) - len(found)
    return sound_splits(
        splits,
        prepare,
        name="instruments" if font == "fluid" else f"instruments ({font})",
        classes=tuple(FAMILIES.values()),
        licence=LICENCES[font],
        citation="Frank Wen, FluidR3 GM" if font == "fluid" else "Tim Brechbill, TimGM6mb",
        fingerprint=hashlib.sha256(file.read_bytes()).hexdigest(),
        notes=[
            f"left out {left} of {len(every)} samples: shorter than {SHORTEST} s, right halves, or of no one family"
        ],
    )


def _family(sample: soundfont.Sample) -> int | None:
    """The number of the family that a sample counts for, None where it is left out."""
    families = {program // 8 for program in sample.programs}
    long = len(sample.samples) >= SHORTEST * sample.rate and sample.kind in (soundfont.MONO, soundfont.LEFT)
    family = families.pop() if long and len(families) == 1 else None
    return family if family in FAMILIES else None


def _is_test(name: str, held_out: HeldOut) -> bool:
    word = NOTE.sub("", name).lower() if held_out == "instruments" else name
    return int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) / 16**8 < TEST


def _sounds(part: list[tuple[soundfont.Sample, int]], file: str) -> Sounds:
    places = {number: place for place, number in enumerate(FAMILIES)}
    labels = np.array([places[family] for _, family in part], np.int32)
    return Sounds(lambda index: _sound(part[index][0]), lambda index: f"{part[index][0].name} of {file}", labels)


def _sound(sample: soundfont.Sample) -> Sound:
    return Sound((sample.samples / np.float32(2**15)).astype(np.float32)[:, None], sample.rate)


def _file(font: str) -> Path | None:
    own = os.environ.get("CNN_JAX_DATA")
    places = [written(own) / FILES[font]] if own else []
    return next((file for file in (*places, DEBIAN / FILES[font]) if file.is_file()), None)


def _install(font: str) -> str:
    return f"apt-get install {PACKAGES[font]}, or set CNN_JAX_DATA to a folder that holds {FILES[font]}"
