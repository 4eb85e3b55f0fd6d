"""drums: single hits of the drumkits of the Hydrogen drum machine, by the part of the kit that is struck.

The classes are kick, snare, hihat, tom, ride and crash, by what the kits call their instruments; a cymbal that is no
ride counts as crash. What is called by none of the words in CLASSES, or by two, as "Crash/Ride" or "Side Stick", is
left out. Hits of one kit sound alike, so the test split has whole kits: there are five FOLDS, fixed by the names of the
kits, and drums(fold=1) is scored on the kits of the first and trained on all others. A score is the mean over the five.

The files are those of the Debian packages hydrogen-drumkits and hydrogen-data, or of $CNN_JAX_DATA/drumkits.
"""

import os
import re
from collections import defaultdict
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from cnn_jax.data.markup import read_xml
from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.sounds import sound_splits
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import digest_files
from cnn_jax.data.wav import of_files
from cnn_jax.paths import written

CLASSES = {  # and the words for them in the names of instruments
    "kick": r"kick|bass ?drum",
    "snare": r"snare",
    "hihat": r"\bhats?\b|hi.?hat|\b[a-z]?hh\b",
    "tom": r"\btom",
    "ride": r"\bride\b",
    "crash": r"crash|splash|\bchina\b|\bcymbal",
}
# Of about the same number of hits each; kits that share recordings, as the first two, or are of one maker are in one.
FOLDS = (
    ("The Black Pearl 1.0", "GMRockKit"),
    ("BJA_Pacific", "VariBreaks"),
    ("ForzeeStereo", "TR808EmulationKit"),
    ("ColomboAcousticDrumkit", "ElectricEmpireKit", "rumpf_kit_z01_h2", "HardElectro1", "Audiophob"),
    ("Millo-Drums_v.1", "Millo_MultiLayered2", "Millo_MultiLayered3"),
)
DEBIAN = Path("/usr/share/hydrogen/data/drumkits")
INSTALL = "apt-get install hydrogen-drumkits hydrogen-data, or set CNN_JAX_DATA to a folder that holds drumkits/"


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if _folder() else INSTALL


def drums(*, fold: int = 1, rate: int = 16_000, seconds: float = 1.0, random: bool = False) -> Splits:
    """The splits "train" and "test", float32 [seconds x rate, 1], of 469 hits in all.

    Args:
      fold: 1 to 5, whose kits are for test.
      rate, seconds, random: see `SoundPrepare`.

    Raises:
      FileNotFoundError: a kit is not installed.
      ValueError: another fold, or a damaged file.
    """
    if fold not in range(1, len(FOLDS) + 1):
        raise ValueError(f"drums: fold must be 1 to {len(FOLDS)}, not {fold!r}")
    folder = _folder()
    if folder is None:
        raise FileNotFoundError(f"drums: not all of its kits are installed: {INSTALL}")
    hits = [
        (number, *hit) for number, kits in enumerate(FOLDS, 1) for kit in kits for hit in hits_of(folder / kit).items()
    ]
    labelled = [(number, file, label) for number, file, label in hits if label is not None]
    fingerprint, contents = digest_files(folder, [file for _, file, _ in labelled])
    first = {contents[file]: file for _, file, _ in reversed(labelled)}
    once = [hit for hit in labelled if first[contents[hit[1]]] == hit[1]]
    parts = {"train": [hit for hit in once if hit[0] != fold], "test": [hit for hit in once if hit[0] == fold]}
    return sound_splits(
        {
            split: of_files([file for _, file, _ in part], np.array([label for *_, label in part], np.int32))
            for split, part in parts.items()
        },
        SoundPrepare(rate=rate, seconds=seconds, random=random),
        name="drums",
        classes=tuple(CLASSES),
        licence="CC0, CC-BY-3.0, CC-BY-SA-3.0, GPL-2.0, by kit",
        citation="the drumkits of Hydrogen, hydrogen-music.org, by their authors",
        fingerprint=fingerprint,
        notes=[
            f"left out {len(hits) - len(labelled)} of {len(hits)} recordings, of instruments called by none or by two",
            f"left out {len(labelled) - len(once)} recordings that are in two kits alike",
        ],
    )


def hits_of(kit: Path) -> dict[Path, int | None]:
    """{recording: its class} of a folder of a kit, None where its instruments are called by none or by two.

    Raises ValueError, in one line, where its drumkit.xml is damaged or names a file that is not there.
    """
    labels: dict[str, set[int | None]] = defaultdict(set)
    for instrument in read_xml(kit / "drumkit.xml").iter():
        if _tag(instrument) == "instrument":
            name = next((child.text or "" for child in instrument if _tag(child) == "name"), "")
            for element in instrument.iter():
                if _tag(element) == "filename" and element.text:
                    labels[element.text].add(label_of(name))
    found: dict[Path, int | None] = {}
    for name, said in sorted(labels.items()):
        label = said.pop() if len(said) == 1 else None
        if label is not None and ("/" in name or not (kit / name).is_file()):
            raise ValueError(f"drums: '{kit}' names a recording '{name}' that is not in it")
        found[kit / name] = label
    return found


def label_of(instrument: str) -> int | None:
    """The class that the name of an instrument says, None for none or several."""
    plain = re.sub(r"\(.*?\)", "", instrument.lower())
    found = [label for label, words in enumerate(CLASSES.values()) if re.search(words, plain)]
    return found[0] if len(found) == 1 else None


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _folder() -> Path | None:
    own = os.environ.get("CNN_JAX_DATA")
    folders = [written(own) / "drumkits", DEBIAN] if own else [DEBIAN]
    kits = [kit for fold in FOLDS for kit in fold]
    return next((folder for folder in folders if all((folder / kit / "drumkit.xml").is_file() for kit in kits)), None)
