"""Concepts that a layer itself uses: its maps as sums of a few patterns, by non-negative matrix factorisation."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Concepts(NamedTuple):
    """maps: [N, *spatial, k], how much of each concept is where. directions: [k, U], the units that make it up.

    explained: the share of the layer's squared size that the concepts give back.
    """

    maps: NDArray[np.float64]
    directions: NDArray[np.float64]
    explained: float


def concepts(maps: np.ndarray, k: int = 5, *, seed: int = 0, iterations: int = 400) -> Concepts:
    """k concepts of a layer's maps [N, *spatial, U], the one that explains most first.

    Collins et al. 2018, "Deep feature factorization", arXiv:1806.10206; Fel et al. 2023, CRAFT, arXiv:2211.10154.
    Raises ValueError for maps with negative numbers, as before a relu, and for more concepts than units or positions.
    """
    from sklearn.decomposition import NMF  # slow to import

    flat = np.asarray(maps, np.float64).reshape(-1, maps.shape[-1])
    if flat.min(initial=0) < 0:
        raise ValueError("concepts are found in maps without negative numbers: choose a layer behind a relu")
    if not 0 < k <= min(flat.shape):
        raise ValueError(f"{k} concepts cannot be found in {flat.shape[1]} units at {flat.shape[0]} positions")
    model = NMF(k, init="nndsvda", random_state=seed, max_iter=iterations)
    weights = model.fit_transform(flat)
    directions = model.components_
    size = np.linalg.norm(weights, axis=0) * np.linalg.norm(directions, axis=1)
    order = np.argsort(-size)
    left = ((flat - weights @ directions) ** 2).sum() / max((flat**2).sum(), 1e-30)
    return Concepts(weights[:, order].reshape(*maps.shape[:-1], k), directions[order], float(1 - left))
