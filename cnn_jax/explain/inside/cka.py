"""Centred kernel alignment: how alike two layers see the same examples, whatever their units are (Kornblith et al.).

2019, arXiv:1905.00414. Layers of one network, of two, or of one at two checkpoints; no matching of units is needed.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def cka(a: np.ndarray, b: np.ndarray, *, unbiased: bool = True) -> float:
    """The linear CKA of two layers, [N, ...] each, of the same N examples: 1 where one is a rotation of the other.

    unbiased: with the estimator of HSIC of Nguyen et al. 2021, arXiv:2010.15327, equation 3. Without, two random layers
    of more units than examples are nearly 1.

    Raises ValueError for too few examples or different ones.
    """
    if len(a) != len(b) or len(a) < 4:
        raise ValueError(f"CKA compares layers on the same examples, 4 at least: there are {len(a)} and {len(b)}")
    first, second = _gram(a, unbiased), _gram(b, unbiased)
    hsic = _unbiased if unbiased else lambda k, q: (k * q).sum()
    size = hsic(first, first) * hsic(second, second)
    return float(hsic(first, second) / np.sqrt(size)) if size > 0 else 0.0


def between(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> NDArray[np.float64]:
    """The CKA [len(a), len(b)] of each layer of a with each of b."""
    return np.array([[cka(first, second) for second in b.values()] for first in a.values()])


def _gram(layer: np.ndarray, unbiased: bool) -> NDArray[np.float64]:
    rows = np.asarray(layer, np.float64).reshape(len(layer), -1)
    rows = rows - rows.mean(0)
    gram = rows @ rows.T
    if unbiased:
        np.fill_diagonal(gram, 0)
    return gram


def _unbiased(k: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    n = len(k)
    whole = k.sum() * q.sum() / ((n - 1) * (n - 2))
    return float(((k * q).sum() + whole - 2 / (n - 2) * (k.sum(0) @ q.sum(0))) / (n * (n - 3)))
