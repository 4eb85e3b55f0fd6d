"""tuxpaint: photos with stamps of Tux Paint on them, and a box around what is seen of each.

An image is a part of a photo of scikit-learn's with a few stamps of random class, size and place, the later ones lying
on those before. Classes are the folders of the stamps: animals, food, plants, vehicles, household, clothes. A stamp of
which less than a quarter is seen is marked as ignored, one of which nothing is seen has no box.

Stamps are on one side of the split only, by a checksum of their names without digits and the word mirror: 30 % are for
test, and so is one of the two photos. The stamps are those of the Debian package tuxpaint-stamps-default, or of the
folder $CNN_JAX_DATA/tuxpaint. Scenes are drawn from a seed, composed once, and kept on disk.
"""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data.composed import Draw, Item, Scene, compose, scene_splits
from cnn_jax.data.images import decode_image
from cnn_jax.data.prepare import side_of
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import Targets
from cnn_jax.data.splits import digest_files
from cnn_jax.paths import written

CLASSES = ("animals", "food", "plants", "vehicles", "household", "clothes")
DEBIAN = Path("/usr/share/tuxpaint/stamps")
INSTALL = "apt-get install tuxpaint-stamps-default, or set CNN_JAX_DATA to a folder that holds tuxpaint/animals, ..."
TEST = 0.3  # of the stamps
PHOTOS = {"train": "china.jpg", "test": "flower.jpg"}
VERSION = 2  # of how they are drawn: another one makes other scenes of the same settings


def available() -> str | None:
    """None when the set can be opened, else how to install what it is composed of."""
    return None if _folder() else INSTALL


def tuxpaint(
    *,
    size: int | tuple[int, int] = 128,
    train: int = 4_000,
    test: int = 500,
    items: tuple[int, int] = (1, 5),
    side: tuple[int, int] = (24, 72),
    overlap: float = 0.3,
    targets: Targets = "boxes",
    seed: int = 0,
) -> Splits:
    """The splits "train" and "test", uint8 [size, size, 3].

    Args:
      size: side in pixels.
      train, test: how many scenes there are.
      items: stamps of a scene, at least and at most; fewer where one finds no place.
      side: the longer side of a stamp in pixels, at least and at most, drawn evenly.
      overlap: IoU that the boxes of two stamps, as if nothing covered them, have at most.
      targets: "boxes"; "instances", which are boxes and a map of the items; or "class_map", a map of the classes.
      seed: of all that is drawn.

    Raises:
      FileNotFoundError: the stamps are not installed.
      ValueError: settings with which no scene can be composed, or a class without stamps.
    """
    low, high = items
    length = side_of(size)
    if not (0 <= low <= high <= 100 and high > 0 and min(train, test) >= 1 and 2 <= side[0] <= side[1]):
        raise ValueError("tuxpaint: items must be 0 <= low <= high <= 100, side 2 <= low <= high, sizes at least 1")
    folder = _folder()
    if folder is None:
        raise FileNotFoundError(f"tuxpaint: its stamps are not installed: {INSTALL}")
    stamps = _stamps(folder)
    files = [file for found in stamps.values() for group in found for file in group]

    def draw() -> Draw:
        read = {file: _stamp(file) for file in files}
        photos = {split: _photo(name) for split, name in PHOTOS.items()}

        def one(split: str, draw: np.random.Generator) -> tuple[Scene, int]:
            chosen = []
            for label in draw.integers(len(CLASSES), size=int(draw.integers(low, high + 1))).tolist():
                file = stamps[split][label][int(draw.integers(len(stamps[split][label])))]
                chosen.append(_item(read[file], label, float(draw.uniform(*side))))
            return compose(draw, _background(draw, photos[split], length), chosen, overlap)

        return one

    return scene_splits(
        "tuxpaint",
        {"train": train, "test": test},
        (length, length, 3),
        high,
        draw,
        targets=targets,
        seed=seed,
        made_of={
            "size": length,
            "items": items,
            "side": side,
            "overlap": overlap,
            "version": VERSION,
            "of": digest_files(folder, files)[0],
        },
        classes=CLASSES,
        licence="GPL-2.0 (the stamps), BSD-3-Clause (the photos)",
        citation="composed of the stamps of Tux Paint, tuxpaint.org, and of photos in scikit-learn",
    )


def _stamps(folder: Path) -> dict[str, list[list[Path]]]:
    """{split: the stamps of each class}."""
    found: dict[str, list[list[Path]]] = {split: [[] for _ in CLASSES] for split in PHOTOS}
    for label, name in enumerate(CLASSES):
        for file in sorted((folder / name).rglob("*.png")):
            word = re.sub(r"mirror|[^a-z]", "", file.stem.lower())
            place = int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) / 16**8
            found["test" if place < TEST else "train"][label].append(file)
        if not all(groups[label] for groups in found.values()):
            raise ValueError(f"tuxpaint: '{folder / name}' has too few stamps")
    return found


def _stamp(file: Path) -> Image.Image:
    """A stamp without its transparent margins."""
    try:
        picture = Image.fromarray(decode_image(file.read_bytes(), 4)[0])
    except ValueError as error:
        raise ValueError(f"'{file}': {error}") from None
    return picture.crop(picture.getchannel("A").getbbox())


def _item(stamp: Image.Image, label: int, longer: float) -> Item:
    shrink = longer / max(stamp.size)
    width, height = (max(round(length * shrink), 2) for length in stamp.size)
    pixels = np.asarray(stamp.resize((width, height), Image.Resampling.BILINEAR))
    return Item(pixels[..., :3], pixels[..., 3] >= 128, label)


def _photo(name: str) -> Image.Image:
    import sklearn.datasets  # a second, and only where scenes are composed

    return Image.fromarray(sklearn.datasets.load_sample_image(name))


def _background(draw: np.random.Generator, photo: Image.Image, size: int) -> NDArray[np.uint8]:
    """A random square of a photo, of a quarter to all of its height."""
    length = draw.uniform(0.25, 1) * min(photo.size)
    left, top = (draw.uniform(0, side - length) for side in photo.size)
    box = (left, top, left + length, top + length)
    return np.array(photo.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _folder() -> Path | None:
    own = os.environ.get("CNN_JAX_DATA")
    folders = [written(own) / "tuxpaint", DEBIAN] if own else [DEBIAN]
    return next((folder for folder in folders if all((folder / name).is_dir() for name in CLASSES)), None)
