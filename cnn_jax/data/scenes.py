"""scenes: images composed of Fashion-MNIST's items, with a box around what is seen of each.

An image has a few items of random class, size and place on black, the later ones lying on those before. Its boxes are
exact. An item of which less than a quarter is seen is marked as ignored, one of which nothing is seen has no box. Train
has items of Fashion-MNIST's train split only, test of its test split only.

Scenes are drawn from a seed, composed once, and kept on disk.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data import fashion_mnist as items_of
from cnn_jax.data.composed import Draw, Item, Scene, compose, scene_splits, tight
from cnn_jax.data.prepare import side_of
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import Targets

VERSION = 2  # of how they are drawn: another one makes other scenes of the same settings


def available() -> str | None:
    """None when the set can be opened, else how to install what it is composed of."""
    return items_of.available()


def scenes(
    *,
    size: int | tuple[int, int] = 96,
    train: int = 40_000,
    test: int = 2_000,
    items: tuple[int, int] = (1, 6),
    scale: tuple[float, float] = (0.6, 1.4),
    overlap: float = 0.3,
    channels: int = 1,
    targets: Targets = "boxes",
    gamma: float = 1.0,
    seed: int = 0,
) -> Splits:
    """The splits "train" and "test", uint8 [size, size, channels].

    Args:
      size: side in pixels.
      train, test: how many scenes there are.
      items: of a scene, at least and at most; fewer where one finds no place.
      scale: of an item's 28 pixels, at least and at most, drawn evenly.
      overlap: IoU that the boxes of two items, as if nothing covered them, have at most.
      channels: 3 for grey as RGB, which weights of photographs want.
      targets: "boxes"; "instances", which are boxes and a map of the items; or "class_map", a map of the classes.
      gamma: that a model reads dark values with, see `ImagePrepare`: clothes have many of 1 to 3 of 255 at their edges.
      seed: of all that is drawn.

    Raises:
      FileNotFoundError: Fashion-MNIST is not installed.
      ValueError: settings with which no scene can be composed.
    """
    low, high = items
    side = side_of(size)
    if not (0 <= low <= high <= 100 and high > 0 and min(train, test) >= 1 and 0 < scale[0] <= scale[1]):
        raise ValueError("scenes: items must be 0 <= low <= high <= 100, scale 0 < low <= high, sizes at least 1")
    if missing := available():
        raise FileNotFoundError(f"scenes: fashion_mnist is not installed: {missing}")
    sources = items_of.fashion_mnist()
    spec = sources["train"].spec

    def draw() -> Draw:
        held = {split: source.batch(np.arange(len(source))) for split, source in sources.items()}

        def one(split: str, draw: np.random.Generator) -> tuple[Scene, int]:
            images, labels = held[split]["image"][..., 0], held[split]["label"]
            chosen = draw.integers(len(images), size=int(draw.integers(low, high + 1)))
            items = [
                _item(images[index], int(labels[index]), factor)
                for index, factor in zip(chosen, draw.uniform(*scale, len(chosen)), strict=True)
            ]
            return compose(draw, np.zeros((side, side, 1), np.uint8), items, overlap)

        return one

    return scene_splits(
        "scenes",
        {"train": train, "test": test},
        (side, side, 1),
        high,
        draw,
        targets=targets,
        channels=channels,
        gamma=gamma,
        seed=seed,
        made_of={
            "size": side,
            "items": items,
            "scale": scale,
            "overlap": overlap,
            "version": VERSION,
            "of": spec.fingerprint,
        },
        classes=spec.classes,
        licence="MIT",
        citation="composed of: Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
    )


def _item(pixels: NDArray[np.uint8], label: int, factor: float) -> Item:
    """An item's tight box, resized."""
    if not pixels.any():
        return Item(np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1), bool), label)
    left, top, right, bottom = tight(pixels > 0)
    cut = pixels[top:bottom, left:right]
    height, width = (max(round(length * factor), 2) for length in cut.shape)
    grey = Image.fromarray(cut).resize((width, height), Image.Resampling.BILINEAR)
    cover = Image.fromarray((cut > 0).astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    return Item(np.asarray(grey)[..., None], np.asarray(cover) >= 128, label)
