"""planted_patch: pictures in which a small pattern alone decides the class, and a map that says where it lies.

A test of explanations with a known truth: each picture of another set gets one of a few patterns at a random place, and
its class is that pattern, whatever else there is to see. A model that is right can only have looked there, so a map
that points elsewhere is wrong about the model. The same patterns are a shortcut of the kind that data sets have by
accident, as a logo or the marks of a hospital.
"""

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data import fashion_mnist
from cnn_jax.data.keyed import Keys, mixed, uniform
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Source, Splits, made
from cnn_jax.data.spec import named
from cnn_jax.data.splits import array_splits
from cnn_jax.lookup import lookup

PATTERNS = ("rows", "columns", "chequers", "ring")


def available() -> str | None:
    """None when the default pictures can be opened, else how to install them."""
    return fashion_mnist.available()


def planted_patch(source: str = "fashion_mnist", *, side: int = 6, seed: int = 0) -> Splits:
    """The splits of `source`, as "fashion_mnist" or "folder:PATH", in four classes, one for each pattern.

    Beside the image and the label there is the map "patch", 1 where the pattern lies. Patterns are black and white.

    Args:
      source: a set of pictures as bytes, all of one size; its own classes do not count.
      side: of the patterns, in pixels.
      seed: of the classes and the places.

    Raises ValueError where the pictures are no bytes, or not larger than a pattern.
    """
    splits = made(lookup(source))
    spec = next(iter(splits.values())).spec
    return array_splits(
        f"planted_patch in {spec.name}",
        {name: _planted(split, side, mixed(seed, number)) for number, (name, split) in enumerate(splits.items())},
        ImagePrepare(channels=spec.input.shape[-1]),
        inputs={"image": "image"},
        targets={"label": "label", "patch": "instance_map"},
        classes=PATTERNS,
        licence=spec.licence,
        citation=spec.citation,
    )


def pattern(label: int, side: int) -> NDArray[np.bool_]:
    """[side, side], where a pattern is white."""
    y, x = np.mgrid[:side, :side]
    from_edge = np.minimum(np.minimum(y, side - 1 - y), np.minimum(x, side - 1 - x))
    return ((y % 2 == 0), (x % 2 == 0), ((y + x) % 2 == 0), (from_edge % 2 == 0))[label]


def _planted(source: Source, side: int, key: Keys) -> dict[str, np.ndarray]:
    count = len(source)
    images = source.batch(np.arange(count))[named(source.spec.inputs, "image")].copy()
    height, width = images.shape[1:3]
    if images.dtype != np.uint8 or min(height, width) <= side:
        raise ValueError(
            f"planted_patch: a pattern of {side} x {side} pixels needs larger pictures of bytes; "
            f"{source.spec.name} has {list(images.shape[1:])} {images.dtype}"
        )
    draws = uniform(mixed(key, np.arange(count)), 3)
    labels, tops, lefts = (draws * (len(PATTERNS), height - side + 1, width - side + 1)).astype(np.int32).T
    rows = np.arange(count)[:, None, None]
    y = tops[:, None, None] + np.arange(side)[:, None]
    x = lefts[:, None, None] + np.arange(side)
    white = np.stack([pattern(label, side) for label in range(len(PATTERNS))])
    images[rows, y, x] = 255 * white[labels][..., None]
    masks = np.zeros(images.shape[:3], np.uint8)
    masks[rows, y, x] = 1
    return {"image": images, "label": labels, "patch": masks}
