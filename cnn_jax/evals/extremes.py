"""The images that a model does best and worst, with what it says of them: what a gallery shows."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHOWN = 4  # of each


class Image(NamedTuple):
    """score: of the image, nan where it has none. place: in its split. said: the predicted map [H, W].

    there: how much is in it, by which one of several equally good ones is chosen.
    """

    place: int
    score: float
    there: int
    said: NDArray


class Extremes(NamedTuple):
    """The first is the best, or the worst, of all."""

    best: tuple[Image, ...] = ()
    worst: tuple[Image, ...] = ()


def chosen(images: Sequence[Image]) -> Extremes:
    """The best and the worst of a batch; of equal ones those with most in them, and then the first of the split."""
    return Extremes(*(tuple(map(_alone, _first(images, key))) for key in (_best, _worst)))


def merged(a: Extremes, b: Extremes) -> Extremes:
    """The best of both and the worst of both."""
    return Extremes(tuple(_first(a.best + b.best, _best)), tuple(_first(a.worst + b.worst, _worst)))


def _first(images: Sequence[Image], key: Callable[[Image], Any]) -> list[Image]:
    return sorted((image for image in images if np.isfinite(image.score)), key=key)[:SHOWN]


def _best(image: Image) -> tuple[float, int, int]:
    return -image.score, -image.there, image.place


def _worst(image: Image) -> tuple[float, int, int]:
    return image.score, -image.there, image.place


def _alone(image: Image) -> Image:
    """With a map that does not keep its whole batch in memory."""
    return image._replace(said=image.said.copy())


def tables(found: Extremes, dtype: str, outside: int) -> dict[str, NDArray]:
    """ "best" and "worst" [M, 2] place and score; "best_maps" and "worst_maps" [M, H, W].

    Maps of several sizes are in the upper left of the largest height and width, the rest is `outside`.
    """
    found_tables: dict[str, NDArray] = {}
    for name, images in found._asdict().items():
        sizes = [image.said.shape for image in images]
        tall, wide = (max((size[axis] for size in sizes), default=0) for axis in (0, 1))
        maps = np.full((len(images), tall, wide), outside, dtype)
        for row, (image, size) in enumerate(zip(images, sizes, strict=True)):
            maps[row, : size[0], : size[1]] = image.said
        found_tables[name] = np.array([(image.place, image.score) for image in images], float).reshape(-1, 2)
        found_tables[f"{name}_maps"] = maps
    return found_tables
