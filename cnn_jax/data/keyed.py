"""Random numbers that depend on keys alone: the same for ever, in any order, in any process, one key at a time.

SplitMix64 (Steele, Lea & Flood 2014, section 3.3) as a hash of 64 bits; NumPy's own generators would cost 20
microseconds for each key.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Keys = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TRIES = 10  # random boxes, of which the first that fits is taken, as in torchvision


def mixed(*parts: ArrayLike) -> Keys:
    """One key [...] for each combination of whole numbers (broadcast against one another); their order counts."""
    key = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            z = (key ^ np.asarray(part).astype(np.uint64)) + GOLDEN
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            key = z ^ (z >> np.uint64(31))
    return key


def uniform(keys: ArrayLike, count: int) -> NDArray[np.float64]:
    """Uniform numbers [..., count] in [0, 1), from keys [...]."""
    bits = mixed(np.asarray(keys)[..., None], np.arange(count))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def random_box(
    key: int, size: tuple[int, int], areas: tuple[float, ...], aspects: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box of a random area, shape and place (Szegedy et al. 2015, section 6).

    Where none of TRIES boxes fits, the largest central one whose shape is allowed.

    Args:
      size: [H, W] of the picture, in whose pixels the box is.
      areas: least and greatest share of the picture. aspects: least and greatest width over height.
    """
    height, width = size
    low, high = (math.log(ratio) for ratio in aspects)
    draws = uniform(np.uint64(key), 2 * TRIES + 2)
    for area, shape in draws[2:].reshape(TRIES, 2):
        area = (areas[0] + area * (areas[1] - areas[0])) * height * width
        ratio = math.exp(low + shape * (high - low))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(draws[0] * (width - wide + 1)), int(draws[1] * (height - tall + 1))
            break
    else:
        ratio = min(max(width / height, aspects[0]), aspects[1])
        wide, tall = min(width, max(round(height * ratio), 1)), min(height, max(round(width / ratio), 1))
        left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall
