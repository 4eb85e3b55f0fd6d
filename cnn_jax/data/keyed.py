"""Random numbers that depend on keys alone: the same for ever, in any order, in any process, one key at a time.

SplitMix64 (Steele, Lea & Flood 2014, section 3.3) as a hash of 64 bits; NumPy's own generators would cost 20
microseconds for each key.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Keys = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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
