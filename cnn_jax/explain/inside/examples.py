"""The examples that a unit answers to most, and those that lie nearest to another one."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Strongest(NamedTuple):
    """The k examples to which each of U units answers most, the strongest first.

    values: [U, k]. rows: [U, k], of the examples in their split; -1 where there are fewer. places: [U, k, rank], where
    in the feature map the answer is largest.
    """

    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def strongest(batches: Iterable[tuple[np.ndarray, np.ndarray]], k: int = 9) -> Strongest:
    """Of batches of (maps [B, *spatial, U], index [B]), of which one at a time is in memory."""
    found: Strongest | None = None
    for maps, index in batches:
        spatial, units = maps.shape[1:-1], maps.shape[-1]
        flat = np.asarray(maps, np.float32).reshape(len(maps), -1, units)
        at = flat.argmax(1)
        values = np.take_along_axis(flat, at[:, None], 1)[:, 0].T
        places = np.stack(np.unravel_index(at.T, spatial), -1) if spatial else np.zeros((*at.T.shape, 0), np.int64)
        new = Strongest(values, np.broadcast_to(np.asarray(index, np.int64), values.shape), places)
        both = new
        if found is not None:
            both = Strongest(*(np.concatenate([a, b], 1) for a, b in zip(found, new, strict=True)))
        order = np.argsort(-both.values, axis=1, kind="stable")[:, :k]
        found = Strongest(
            np.take_along_axis(both.values, order, 1),
            np.take_along_axis(both.rows, order, 1),
            np.take_along_axis(both.places, order[..., None], 1),
        )
    if found is None:
        raise ValueError("no examples: there is nothing that units could answer to")
    return found


def patch(example: np.ndarray, place: np.ndarray, extent: tuple[int, ...], side: int) -> np.ndarray:
    """The part of an example [*spatial, C], of `side` positions each way, around a place of a map of this extent.

    Near a border the part lies inside, as far as the example is large enough.
    """
    spatial = example.shape[:-1]
    middle = (np.asarray(place) + 0.5) * np.array(spatial) / np.array(extent)
    low = np.clip(np.round(middle - side / 2).astype(int), 0, np.maximum(np.array(spatial) - side, 0))
    return example[tuple(slice(start, start + side) for start in low)]


class Nearest(NamedTuple):
    """rows [Q, k] and cosine similarity [Q, k] of the nearest of N vectors to each of Q, the nearest first."""

    rows: NDArray[np.int64]
    similarity: NDArray[np.float64]


def nearest(queries: np.ndarray, vectors: np.ndarray, k: int = 5) -> Nearest:
    """The nearest of vectors [N, D] to queries [Q, D], as the pooled features of pictures, by cosine similarity."""

    def unit(rows: np.ndarray) -> NDArray[np.float64]:
        rows = np.asarray(rows, np.float64)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    similarity = unit(queries) @ unit(vectors).T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return Nearest(order, np.take_along_axis(similarity, order, 1))
