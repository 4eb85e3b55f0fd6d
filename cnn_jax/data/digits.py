"""digits: the 1797 handwritten digits of 8 x 8 pixels that scikit-learn carries, so they are always present.

Train is the first half (898) and test the second (899), unshuffled, as in scikit-learn's classification example: the
writers of the two halves differ. The 17 grey levels 0..16 are stretched to 0..255.
"""

import functools

import numpy as np

from cnn_jax.data.images import Decode
from cnn_jax.data.source import Source
from cnn_jax.data.splits import array_splits, check_sha256, digest

SHA256 = "1fa49054f5d5ba0bcf14a7848951319bfb97150b87f1a8c21b50191db38780b9"


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None


@functools.lru_cache(maxsize=1)
def open_splits(argument: str, decode: Decode) -> dict[str, Source]:
    """The splits "train" (898 images uint8 [8, 8, 1]) and "test" (899)."""
    if argument:
        raise ValueError(f"digits takes no argument, not {argument!r}")
    images, labels = _arrays()
    half = len(images) // 2
    return array_splits(
        "digits",
        {"train": (images[:half], labels[:half]), "test": (images[half:], labels[half:])},
        decode,
        classes=[str(digit) for digit in range(10)],
        licence="CC BY 4.0",
        citation="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI, doi:10.24432/C50P49",
    )


def _arrays() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # over a second to import

    digits = load_digits()
    check_sha256(
        "digits of scikit-learn", digest(digits.images.astype(np.uint8), digits.target.astype(np.int64)), SHA256
    )
    return np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None], digits.target
