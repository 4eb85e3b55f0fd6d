"""trees: crowns of trees with boxes, in four images from the air that come with the PyPI package deepforest.

Three are used, each on one side of a split only. Train is an image of 2472 x 2299 pixels of Yellowstone with 574 boxes.
Test are one of 1035 x 1249 pixels taken 13 km away, with 279, and one of 400 x 400 of Florida, with 61, which
deepforest's own tests use. The fourth, SOAP_061, tells dead trees from living ones and leaves shrubs out: another task.
A pixel is 10 cm wide. The images are from the National Ecological Observatory Network, the boxes were drawn by hand
(Weinstein et al. 2019).

They are cut into tiles that do not overlap. A box at the border of a tile is cut; of what is less than a quarter of its
crown, a tile is not asked for.

The files are read from $CNN_JAX_DATA/deepforest or from the installed package, which is not imported: it needs PyTorch.
"""

import hashlib
import importlib.util
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.composed import IGNORED_BELOW
from cnn_jax.data.images import decode_image
from cnn_jax.data.placement import Placement, as_vector, to_example
from cnn_jax.data.prepare import ImagePrepare, side_of
from cnn_jax.data.resizing import resized
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits, check_sha256
from cnn_jax.data.voc import Place, annotation
from cnn_jax.paths import written

IMAGES = {
    "train": ("2019_YELL_2_528000_4978000_image_crop2",),
    "test": ("2019_YELL_2_541000_4977000_image_crop", "OSBS_029"),
}
SHA256 = {
    "2019_YELL_2_528000_4978000_image_crop2.png": "a9bdb0f4447fdd899d22f567e0e20ba8320c5413b2ad0cd0ac8d9f3b6e0f9767",
    "2019_YELL_2_528000_4978000_image_crop2.xml": "bd431af6a5086d721eb731b22f5ea28cd8a8eab06883efc1c665391acbc68e11",
    "2019_YELL_2_541000_4977000_image_crop.png": "178e58a23cc2642226a364a30f71bd9258ddc1b012c826f12250914a90c7a131",
    "2019_YELL_2_541000_4977000_image_crop.xml": "cefe4b96888bacbf8af1674f000082e549aa707aa6590d545effb23e43f26631",
    "OSBS_029.png": "d9477c6a00e4902c7bee487d4c5582c3b8b9a2f77f3908a29628b816b291e6ee",
    "OSBS_029.xml": "1f68c4011d7b351c29ca755072e77f3d16e6fd1f995bd05a9dd4eb952b55373c",
}
INSTALL = "pip install --no-deps deepforest (its PyTorch is not needed), or set CNN_JAX_DATA to what holds deepforest/"


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if _folder() else INSTALL


def trees(
    *, tile: int = 400, size: int | tuple[int, int] | None = None, test: tuple[str, ...] = IMAGES["test"]
) -> Splits:
    """The splits "train" and "test", uint8 [size, size, 3], of 42 and 13 tiles by default.

    Args:
      test: which of the two images the test split has.
      tile: pixels that the sides of a tile have at most. Those of an image are equal but for a pixel, and are padded.
      size: to which `tile` pixels are brought; None: they are left as they are.

    Raises:
      FileNotFoundError: it is in none of the places.
      ValueError: sizes below 1, or files that are not those of version 2.1.0 of the package.
    """
    folder, side = _folder(), side_of(size or tile)
    if folder is None:
        raise FileNotFoundError(f"trees: deepforest is not installed: {INSTALL}")
    if tile < 1:
        raise ValueError(f"trees: tile must be at least 1, not {tile}")
    if not set(test) or not set(test) <= set(IMAGES["test"]):
        raise ValueError(f"trees: test must be some of {', '.join(IMAGES['test'])}, not {test}")
    images = {"train": IMAGES["train"], "test": test}
    tiles = {split: [t for name in names for t in _tiles(folder, name, tile, side)] for split, names in images.items()}
    most = max(len(one.boxes) for found in tiles.values() for one in found)
    every = [part for found in tiles.values() for one in found for part in one.ignored.tolist()]
    return array_splits(
        "trees",
        {split: _stacked(found, most) for split, found in tiles.items()},
        ImagePrepare(size=(side, side), resize="letterbox", channels=3, background=0),
        inputs={"image": "image", "placement": "placement"},
        targets={"boxes": "boxes", "objects": "box_labels", "ignored": "box_ignored", "areas": "box_areas"},
        classes=("tree",),
        licence="MIT",
        citation="Weinstein et al. 2019, Individual tree-crown detection in RGB imagery, Remote Sensing 11(11):1309",
        notes=[
            f"{sum(every)} of {len(every)} pieces of boxes have less than {IGNORED_BELOW:.0%} of a crown and are "
            f"marked as ignored, as tile={tile} cuts the images"
        ],
        names={split: [one.name for one in found] for split, found in tiles.items()},
    )


class _Tile(NamedTuple):
    """image: uint8 [S, S, 3]; placement: of the whole image in it; boxes: [k, 4] in pixels of the whole image."""

    name: str
    image: NDArray[np.uint8]
    placement: Placement
    boxes: NDArray[np.float64]
    ignored: NDArray[np.bool_]


def _tiles(folder: Path, name: str, tile: int, size: int) -> Iterator[_Tile]:
    data = {file: (folder / file).read_bytes() for file in (f"{name}.png", f"{name}.xml")}
    for file, content in data.items():
        check_sha256(f"'{folder / file}'", hashlib.sha256(content).hexdigest(), SHA256[file])
    pixels, full = decode_image(data[f"{name}.png"], 3)
    boxes = np.array(annotation(Place(folder / f"{name}.xml", folder)).boxes)
    boxes[:, :2] -= 1  # VOC counts from 1
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    rows, columns = (np.linspace(0, length, math.ceil(length / tile) + 1).round().astype(int) for length in full)
    scale = size / tile
    for top, bottom in itertools.pairwise(rows.tolist()):
        for left, right in itertools.pairwise(columns.tolist()):
            padded = np.zeros((tile, tile, 3), np.uint8)
            padded[: bottom - top, : right - left] = pixels[top:bottom, left:right]
            cut = np.clip(boxes, (left, top, left, top), (right, bottom, right, bottom))
            sides = cut[:, 2:] - cut[:, :2]
            here = (sides > 0).all(1)
            yield _Tile(
                f"{name} from {left}, {top} to {right}, {bottom}",
                resized(padded, (size, size), "bilinear"),
                Placement((full[0], full[1]), (size, size), (scale, scale), (-top * scale, -left * scale)),
                cut[here],
                (sides.prod(1) < IGNORED_BELOW * whole)[here],
            )


def _stacked(tiles: Sequence[_Tile], most: int) -> dict[str, np.ndarray]:
    shape = (len(tiles), most)
    found = {
        "image": np.stack([one.image for one in tiles]),
        "placement": np.stack([as_vector(one.placement) for one in tiles]),
        "boxes": np.zeros((*shape, 4), np.float32),
        "objects": np.full(shape, -1, np.int32),
        "ignored": np.zeros(shape, np.uint8),
        "areas": np.zeros(shape, np.float32),
    }
    for number, one in enumerate(tiles):
        count = len(one.boxes)
        found["boxes"][number, :count] = to_example(one.boxes, one.placement)
        found["objects"][number, :count] = 0
        found["ignored"][number, :count] = one.ignored
        found["areas"][number, :count] = np.prod(one.boxes[:, 2:] - one.boxes[:, :2], 1)
    return found


def _folder() -> Path | None:
    own = os.environ.get("CNN_JAX_DATA")
    package = importlib.util.find_spec("deepforest")
    places = [written(own) / "deepforest"] if own else []
    places += [Path(place, "data") for place in (package.submodule_search_locations or () if package else ())]
    return next((folder for folder in places if all((folder / file).is_file() for file in SHA256)), None)
