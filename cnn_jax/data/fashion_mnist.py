"""fashion_mnist: 60,000 train and 10,000 test grey images of clothing, 28 x 28, in 10 classes.

Read from the first place that has it: the folder $CNN_JAX_DATA or $CNN_JAX_DATA/fashion_mnist (the four published idx
files, gzipped or not), the Debian package dataset-fashion-mnist, or a copy prepared by TFDS (in the order of TFDS).
"""

import functools
import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from cnn_jax.data import tfds
from cnn_jax.data.prepare import ImagePrepare, square
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits, check_sha256
from cnn_jax.paths import written

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
INSTALL = (
    "apt-get install dataset-fashion-mnist, or set CNN_JAX_DATA to the folder of its idx files, or prepare it by TFDS"
)
SHA256 = {  # of the decompressed files: Debian's gzip headers differ from the published ones
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASSES = (
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if _folder() or tfds.prepared("fashion_mnist") else INSTALL


def fashion_mnist(
    *, size: int | tuple[int, int] | None = None, channels: int | None = None, interpolation: str = "bilinear"
) -> Splits:
    """The splits "train" (60,000 images uint8 [28, 28, 1]) and "test" (10,000).

    size: a side, or height and width, to which they are brought. channels: 3 for grey as RGB. interpolation: "bilinear"
    or "bicubic".

    Raises:
      FileNotFoundError: it is in none of the places.
      ValueError: a file is damaged.
    """
    if missing := available():
        raise FileNotFoundError(f"fashion_mnist is not installed: {missing}")
    folder = _folder()
    if folder is None:
        return tfds.tfds("fashion_mnist", size=size, channels=channels, interpolation=interpolation)
    arrays = {"train": _arrays(folder, "train"), "test": _arrays(folder, "t10k")}
    return array_splits(
        "fashion_mnist",
        {split: {"image": images, "label": labels} for split, (images, labels) in arrays.items()},
        ImagePrepare(size=square(size), channels=channels, interpolation=interpolation),
        inputs={"image": "image"},
        targets={"label": "label"},
        classes=CLASSES,
        licence="MIT",
        citation="Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
    )


def _folder() -> Path | None:
    own = os.environ.get("CNN_JAX_DATA")
    folders = [written(own), written(own) / "fashion_mnist", DEBIAN] if own else [DEBIAN]
    return next((folder for folder in folders if all(_file(folder, name) for name in SHA256)), None)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


@functools.lru_cache(maxsize=2)
def _arrays(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images = _content(folder, f"{part}-images-idx3-ubyte")[16:].reshape(-1, 28, 28, 1)
    return images, _content(folder, f"{part}-labels-idx1-ubyte")[8:]


def _content(folder: Path, name: str) -> np.ndarray:
    """The bytes of an idx file; images begin at byte 16, labels at 8 (the checksum vouches for the header)."""
    path = _file(folder, name)
    assert path is not None
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}): install it anew") from error
    check_sha256(str(path), hashlib.sha256(data).hexdigest(), SHA256[name])
    return np.frombuffer(data, np.uint8)
