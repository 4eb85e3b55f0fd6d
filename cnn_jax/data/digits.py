"""digits: the 1797 handwritten digits of 8 x 8 pixels that scikit-learn carries, so they are always present.

Train is the first half (898) and test the second (899), unshuffled, as in scikit-learn's classification example: the
writers of the two halves differ. The 17 grey levels 0..16 are stretched to 0..255.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from cnn_jax.data.prepare import ImagePrepare, square
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits, check_sha256, digest

SHA256 = "1fa49054f5d5ba0bcf14a7848951319bfb97150b87f1a8c21b50191db38780b9"


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None


def digits(
    *, size: int | tuple[int, int] | None = None, channels: int | None = None, interpolation: str = "bilinear"
) -> Splits:
    """The splits "train" (898 images uint8 [8, 8, 1]) and "test" (899).

    size: a side, or height and width, to which they are brought. channels: 3 for grey as RGB. interpolation: "bilinear"
    or "bicubic".
    """
    images, labels = _arrays()
    half = len(images) // 2
    return array_splits(
        "digits",
        {
            "train": {"image": images[:half], "label": labels[:half]},
            "test": {"image": images[half:], "label": labels[half:]},
        },
        ImagePrepare(size=square(size), channels=channels, interpolation=interpolation),
        inputs={"image": "image"},
        targets={"label": "label"},
        classes=[str(digit) for digit in range(10)],
        licence="CC BY 4.0",
        citation="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI, doi:10.24432/C50P49",
    )


@functools.cache
def _arrays() -> tuple[np.ndarray, np.ndarray]:
    package = importlib.util.find_spec("sklearn")  # not imported, which would take over a second
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(file, delimiter=",", dtype=np.int64)
    images, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    check_sha256("digits of scikit-learn", digest(images.astype(np.uint8), labels), SHA256)
    return np.rint(images * (255 / 16)).astype(np.uint8)[..., None], labels
