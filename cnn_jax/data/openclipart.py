"""openclipart: about 1,900 colour drawings in six classes, from the folders of the Open Clip Art library.

Read from the folder $CNN_JAX_DATA or $CNN_JAX_DATA/openclipart (with folders food, animals, ... in it), or from the
Debian package openclipart-png. Folders below a class count for it. What is transparent is white, and a drawing is
padded with white to a square, never cropped or squashed.

No drawing is on two sides of a split. A file that stands in several classes, byte by byte, is left out, as are a dozen
more than 4,000 pixels wide; one that stands in a class several times is read once. Drawings belong together if their
file names differ in digits, single letters and the word "bw" only (apple_01, apple_2b, apple_bw), or if they look
alike: reduced to 17 x 17 grey values, these increase from left to right at the same places but for 6 of 272. Such a
group goes as a whole, by a checksum of its first name, to test (20 %), validation (10 %) or train.
"""

import functools
import hashlib
import os
import re
import struct
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cnn_jax.data.images import DEEP, decode_image
from cnn_jax.data.prepare import ImagePrepare, fit, square
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits
from cnn_jax.devices import cores
from cnn_jax.paths import printable, written

CLASSES = ("food", "animals", "people", "transportation", "tools", "recreation")
DEBIAN = Path("/usr/share/openclipart/png")
INSTALL = "apt-get install openclipart-png, or set CNN_JAX_DATA to a folder that holds its folders food, animals, ..."
SIZE = 96  # pixels, where none are asked for
TEST, VALIDATION = 0.2, 0.1
LARGEST = 4000  # pixels; a dozen road signs are 29,700 wide
ALIKE = 6  # two drawings look alike if at most so many of the 272 bits of their looks differ
TELLING = 30  # a look with fewer bits set is that of a nearly empty drawing, and is compared with none

LOOK = ImagePrepare(size=(17, 17), resize="letterbox", channels=1)  # for comparisons of drawings

Files = dict[str, list[tuple[Path, int]]]  # by split: a drawing and its label


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if _folder() else INSTALL


def openclipart(*, size: int | tuple[int, int] = SIZE, channels: int = 3, interpolation: str = "bilinear") -> Splits:
    """The splits "train", "validation" and "test", uint8 [size, size, channels].

    Raises:
      FileNotFoundError: it is in none of the places.
      ValueError: an image is damaged, or a class has no images.
    """
    prepare = ImagePrepare(
        size=square(size), resize="letterbox", channels=channels, interpolation=interpolation, white=DEEP
    )
    drawings, images, notes = _read(_installed(), prepare)
    return array_splits(
        "openclipart",
        {
            split: {
                "image": np.stack([images[path] for path, _ in found]),
                "label": np.array([label for _, label in found], np.int32),
            }
            for split, found in drawings.items()
        },
        prepare,
        inputs={"image": "image"},
        targets={"label": "label"},
        classes=CLASSES,
        licence="public domain",
        citation="Open Clip Art Library 0.18, openclipart.org",
        notes=notes,
    )


def files(size: int = SIZE) -> Files:
    """The drawings of each split, in the order of its examples. Raises FileNotFoundError where there are none."""
    return _read(_installed(), ImagePrepare(size=square(size), resize="letterbox", channels=3, white=DEEP))[0]


def _installed() -> Path:
    folder = _folder()
    if folder is None:
        raise FileNotFoundError(f"openclipart is not installed: {INSTALL}")
    return folder


@functools.lru_cache(maxsize=1)
def _read(folder: Path, prepare: ImagePrepare) -> tuple[Files, dict[Path, np.ndarray], list[str]]:
    """The drawings of each split, their pixels, and what was left out.

    All are decoded, as their looks say which belong together.
    """
    drawings, notes = _drawings(folder)
    paths = [path for path, _ in drawings]
    with ThreadPoolExecutor(cores()) as threads:
        images, looks = zip(*threads.map(functools.partial(_decode, prepare=prepare), paths), strict=True)
    splits: Files = {"train": [], "validation": [], "test": []}
    for drawing, group in zip(drawings, _groups(paths, np.stack(looks)), strict=True):
        place = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 16**8
        splits["test" if place < TEST else "validation" if place < TEST + VALIDATION else "train"].append(drawing)
    for split, found in splits.items():
        if missing := [name for label, name in enumerate(CLASSES) if label not in {of for _, of in found}]:
            raise ValueError(f"'{folder}' has too few images: the {split} split would have no {missing[0]}")
    return splits, dict(zip(paths, images, strict=True)), notes


def _drawings(folder: Path) -> tuple[list[tuple[Path, int]], list[str]]:
    """Each drawing of one class once, with its label; and what was left out."""
    copies: dict[bytes, list[tuple[Path, int]]] = defaultdict(list)
    left: dict[str, list[Path]] = defaultdict(list)
    for label, name in enumerate(CLASSES):
        for path in sorted((folder / name).rglob("*.png")):
            data = path.read_bytes()
            if max(struct.unpack(">II", data[16:24].ljust(8, b"\0"))) <= LARGEST:
                copies[hashlib.sha256(data).digest()].append((path, label))
            else:
                left[f"drawings of more than {LARGEST} pixels a side"].append(path)
    drawings = []
    for same in copies.values():
        if len({label for _, label in same}) == 1:
            drawings.append(same[0])
            left["copies within a class"] += [path for path, _ in same[1:]]
        else:
            left["drawings that stand in several classes"] += [path for path, _ in same]
    notes = [f"left out {len(p)} {what}, as {printable(p[0].relative_to(folder))}" for what, p in left.items() if p]
    return drawings, notes


def _groups(paths: list[Path], looks: np.ndarray) -> list[str]:
    """For each drawing the alphabetically first name among those that belong together; looks: [N, 272] bool."""
    names = [_family(path.stem) for path in paths]
    parents = {name: name for name in names}

    def first(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    for row, look in enumerate(looks):
        for other in np.flatnonzero((looks[:row] != look).sum(1) <= ALIKE) if look.sum() >= TELLING else ():
            low, high = sorted((first(names[row]), first(names[other])))
            parents[high] = low
    return [first(name) for name in names]


def _family(stem: str) -> str:
    """'apple_wedge_02b' and 'apple-wedge_bw' -> 'apple_wedge'."""
    words = re.findall(r"[a-z]+", stem.lower())
    return "_".join(word for word in words if len(word) > 1 and word != "bw") or stem


def _decode(path: Path, prepare: ImagePrepare) -> tuple[np.ndarray, np.ndarray]:
    """The drawing as an example, and its look: where 17 x 17 grey values increase, [272] bool."""
    try:
        pixels, _ = decode_image(path.read_bytes(), prepare.channels or 3, white=prepare.white)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from None
    grey = fit(pixels, LOOK)[0][:, :, 0]
    return fit(pixels, prepare)[0], (grey[:, 1:] > grey[:, :-1]).ravel()


def _folder() -> Path | None:
    own = os.environ.get("CNN_JAX_DATA")
    folders = [written(own), written(own) / "openclipart", DEBIAN] if own else [DEBIAN]
    return next((folder for folder in folders if all((folder / name).is_dir() for name in CLASSES)), None)
