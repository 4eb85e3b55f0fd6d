"""The score of each image, and of the best and the worst the predicted maps: what a gallery shows."""

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
    """scores: [N, 2] place and score of all images; best, worst: of SHOWN at most, the best or the worst first."""

    scores: NDArray[np.float64] = np.zeros((0, 2))
    best: tuple[Image, ...] = ()
    worst: tuple[Image, ...] = ()


def of(images: Sequence[Image]) -> Extremes:
    """Those of a batch; of equally good images the ones with most in them, and then the first of the split."""
    # Copies: a row of a batch would keep all of it in memory.
    few = (tuple(image._replace(said=image.said.copy()) for image in _first(images, key)) for key in (_best, _worst))
    return Extremes(np.array([(image.place, image.score) for image in images], float).reshape(-1, 2), *few)


def merged(a: Extremes, b: Extremes) -> Extremes:
    """The best of both and the worst of both."""
    scores = np.concatenate([a.scores, b.scores])
    return Extremes(scores, _first(a.best + b.best, _best), _first(a.worst + b.worst, _worst))


def _first(images: Sequence[Image], key: Callable[[Image], Any]) -> tuple[Image, ...]:
    return tuple(sorted((image for image in images if np.isfinite(image.score)), key=key)[:SHOWN])


def _best(image: Image) -> tuple[float, int, int]:
    return -image.score, -image.there, image.place


def _worst(image: Image) -> tuple[float, int, int]:
    return image.score, -image.there, image.place


def tables(found: Extremes, dtype: str, outside: int) -> dict[str, NDArray]:
    """The tables of an evaluator.

    "image_scores" [N, 2]: place and score of each image that has one, in the order of the split.
    "best", "worst" [M, 2]: place and score of SHOWN at most, the best or the worst first.
    "best_maps", "worst_maps" [M, H, W]: what was predicted for them. Maps of several sizes are in the upper left of the
    largest height and width, the rest is `outside`.
    """
    known = found.scores[np.isfinite(found.scores[:, 1])]
    made: dict[str, NDArray] = {"image_scores": known[np.argsort(known[:, 0])]}
    for name, images in (("best", found.best), ("worst", found.worst)):
        sizes = [image.said.shape for image in images]
        tall, wide = (max((size[axis] for size in sizes), default=0) for axis in (0, 1))
        maps = np.full((len(images), tall, wide), outside, dtype)
        for row, (height, width) in enumerate(sizes):
            maps[row, :height, :width] = images[row].said
        made[name] = np.array([(image.place, image.score) for image in images], float).reshape(-1, 2)
        made[f"{name}_maps"] = maps
    return made
