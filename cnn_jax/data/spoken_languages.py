"""spoken_languages: names of things spoken in six languages, each by voices of its own. It measures the SPEAKER.

The children's drawing program Tux Paint says the names of its stamps in the languages of its translators, and each
language was recorded by one or few people, in a room and with a microphone of their own. So who speaks, and through
what, is told as well by a clip as its language: whatever learns this set by heart knows voices, and its test score says
nothing of languages. The set is here for that: a shortcut of the kind that data sets have by accident, and a test of
whether an explanation reveals it.

source="ktuberling" has the same languages spoken by others, the words of KDE's Potato Guy: one split, test, for
`eval --data` and `evaluate.also`. What falls there was the voice.

A fifth of the things is for test, in all languages alike: no word is in train and in test.

The files are those of the Debian packages tuxpaint-stamps-default and ktuberling-data, or of $CNN_JAX_DATA/tuxpaint and
$CNN_JAX_DATA/ktuberling/sounds.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cnn_jax.data.installed import found
from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.sounds import sound_splits
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import digest_files
from cnn_jax.data.wav import of_files

Recordings = Literal["tuxpaint", "ktuberling"]

LANGUAGES = {"ca": "Catalan", "el": "Greek", "es": "Spanish", "fr": "French", "ro": "Romanian", "ru": "Russian"}
PLACES = {
    "tuxpaint": {"own": ("tuxpaint",), "system": ("/usr/share/tuxpaint/stamps",)},
    "ktuberling": {"own": ("ktuberling/sounds",), "system": ("/usr/share/ktuberling/sounds",)},
}
PACKAGES = {"tuxpaint": "tuxpaint-stamps-default", "ktuberling": "ktuberling-data"}
TEST = 0.2


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if _folder("tuxpaint") else _install("tuxpaint")


def spoken_languages(
    *, rate: int = 16_000, seconds: float = 1.5, random: bool = False, source: Recordings = "tuxpaint"
) -> Splits:
    """The splits "train" and "test" of Tux Paint, or "test" alone of other voices, float32 [seconds x rate, 1].

    Args:
      rate, seconds, random: see `SoundPrepare`.
      source: "tuxpaint", or "ktuberling".

    Raises:
      FileNotFoundError: it is not installed.
      ValueError: another source, or a damaged file.
    """
    if source not in get_args(Recordings):
        raise ValueError(f"spoken_languages: source must be one of {', '.join(get_args(Recordings))}, not {source!r}")
    folder = _folder(source)
    if folder is None:
        raise FileNotFoundError(f"spoken_languages: its sounds are not installed: {_install(source)}")
    clips = _stamps(folder) if source == "tuxpaint" else _potatoes(folder)
    fingerprint, contents = digest_files(folder, [file for file, _, _ in clips])
    first = {contents[file]: file for file, _, _ in reversed(clips)}
    once = [clip for clip in clips if first[contents[clip[0]]] == clip[0]]
    parts: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    for file, label, thing in once:
        parts["test" if source != "tuxpaint" or _is_test(thing) else "train"].append((file, label))
    notes = [
        f"the languages of {source} are spoken by one or few voices each: a score on it measures the speaker, not the "
        "language"
    ]
    if len(once) < len(clips):
        notes.append(f"left out {len(clips) - len(once)} of {len(clips)} clips, which are copies of others")
    return sound_splits(
        {
            split: of_files([file for file, _ in part], np.array([label for _, label in part], np.int32))
            for split, part in parts.items()
            if part
        },
        SoundPrepare(rate=rate, seconds=seconds, random=random),
        name="spoken_languages" if source == "tuxpaint" else f"spoken_languages ({source})",
        classes=tuple(LANGUAGES.values()),
        licence="GPL-2.0",
        citation="Tux Paint, tuxpaint.org" if source == "tuxpaint" else "KTuberling, apps.kde.org/ktuberling",
        fingerprint=fingerprint,
        notes=notes,
    )


Clips = list[tuple[Path, int, str]]  # a file, its class, and the thing that is said


def _stamps(folder: Path) -> Clips:
    """animals/birds/cardinal_desc_fr.ogg; without a letter after desc_ they are in English, or no speech at all."""
    found_in: Clips = []
    for label, code in enumerate(LANGUAGES):
        end = f"_desc_{code}.ogg"
        for file in sorted(folder.rglob(f"*{end}")):
            thing = str(file.relative_to(folder)).removesuffix(end)
            found_in.append((file, label, re.sub(r"\d+|mirror|[-_]", "", thing)))
    return found_in


def _potatoes(folder: Path) -> Clips:
    return [
        (file, label, file.stem)
        for label, code in enumerate(LANGUAGES)
        for file in sorted((folder / code).glob("*"))
        if file.suffix in (".ogg", ".wav")
    ]


def _is_test(thing: str) -> bool:
    return int(hashlib.sha256(thing.encode()).hexdigest()[:8], 16) / 16**8 < TEST


def _folder(source: str) -> Path | None:
    return found(**PLACES[source])  # type: ignore[arg-type]


def _install(source: str) -> str:
    own = PLACES[source]["own"][0]
    return f"apt-get install {PACKAGES[source]}, or set CNN_JAX_DATA to a folder that holds {own}/"
