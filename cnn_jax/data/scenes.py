"""scenes: images composed of Fashion-MNIST's items, with a box around what is seen of each.

An image has a few items of random class, size and place on black, the later ones lying on those before. Its boxes are
exact. An item of which less than a quarter is seen is marked as ignored, one of which nothing is seen has no box. Train
has items of Fashion-MNIST's train split only, test of its test split only.

Scenes are drawn from a seed, composed once, and kept on disk.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_jax.data import fashion_mnist as items_of
from cnn_jax.data.composed import IGNORED_BELOW, Item, compose
from cnn_jax.data.kept import kept
from cnn_jax.data.prepare import Prepare
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits

VERSION = 1  # of how they are drawn: another one makes other scenes of the same settings


def available() -> str | None:
    """None when the set can be opened, else how to install what it is composed of."""
    return items_of.available()


def scenes(
    *,
    size: int = 96,
    train: int = 40_000,
    test: int = 2_000,
    items: tuple[int, int] = (1, 6),
    scale: tuple[float, float] = (0.6, 1.4),
    overlap: float = 0.3,
    channels: int = 1,
    seed: int = 0,
) -> Splits:
    """The splits "train" and "test", uint8 [size, size, channels].

    Args:
      size: height and width in pixels.
      train, test: how many scenes there are.
      items: of a scene, at least and at most; fewer where one finds no place.
      scale: of an item's 28 pixels, at least and at most, drawn evenly.
      overlap: IoU that the boxes of two items, as if nothing covered them, have at most.
      channels: 3 for grey as RGB, which weights of photographs want.
      seed: of all that is drawn.

    Raises:
      FileNotFoundError: Fashion-MNIST is not installed.
      ValueError: settings with which no scene can be composed.
    """
    low, high = items
    if not (0 <= low <= high <= 100 and high > 0 and min(size, train, test) >= 1 and 0 < scale[0] <= scale[1]):
        raise ValueError("scenes: items must be 0 <= low <= high <= 100, scale 0 < low <= high, sizes at least 1")
    if missing := available():
        raise FileNotFoundError(f"scenes: fashion_mnist is not installed: {missing}")
    sources = items_of.fashion_mnist()
    counts = {"train": train, "test": test}
    settings = {"size": size, "items": items, "scale": scale, "overlap": overlap, "seed": seed}
    spec = sources["train"].spec
    made_of = {**settings, "counts": counts, "version": VERSION, "of": spec.fingerprint}

    def make() -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for number, (split, count) in enumerate(counts.items()):
            held = sources[split].batch(np.arange(len(sources[split])))
            found = _composed(held["image"][..., 0], held["label"], count, number, settings)
            arrays |= {f"{split}/{name}": array for name, array in found.items()}
        return arrays

    stored = kept("scenes", made_of, make)
    names = ("image", "boxes", "objects", "ignored")
    arrays = {split: {name: stored[f"{split}/{name}"] for name in names} for split in counts}
    left = int(sum(stored[f"{split}/left"].sum() for split in counts))
    drawn = left + sum(int((found["objects"] >= 0).sum()) for found in arrays.values())
    ignored = int(sum((found["ignored"] > 0).sum() for found in arrays.values()))
    seen = f"{ignored:,} of {drawn:,} items are seen by less than {IGNORED_BELOW:.0%} and marked as ignored"
    return array_splits(
        "scenes",
        arrays,
        Prepare(size=(size, size), resize="letterbox", channels=channels, background=0),
        inputs={"image": "image"},
        targets={"boxes": "boxes", "objects": "box_labels", "ignored": "box_ignored"},
        classes=spec.classes,
        licence="MIT",
        citation="composed of: Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
        notes=(f"{left:,} of {drawn:,} items found no place or are hidden: fewer items or a larger size", seen),
    )


def _composed(
    images: NDArray[np.uint8], labels: NDArray[np.int32], count: int, split: int, settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Arrays of `count` scenes of items [M, 28, 28]."""
    size, (low, high), (smallest, largest) = settings["size"], settings["items"], settings["scale"]
    shape = (size, size)
    found = {
        "image": np.zeros((count, *shape, 1), np.uint8),
        "boxes": np.zeros((count, high, 4), np.float32),
        "objects": np.full((count, high), -1, np.int32),
        "ignored": np.zeros((count, high), np.uint8),
        "left": np.zeros(count, np.int32),  # items that are not there
    }
    black = np.zeros((*shape, 1), np.uint8)
    for number in range(count):
        draw = np.random.default_rng((settings["seed"], split, number))
        chosen = draw.integers(len(images), size=int(draw.integers(low, high + 1)))
        items = [
            _item(images[index], int(labels[index]), factor)
            for index, factor in zip(chosen, draw.uniform(smallest, largest, len(chosen)), strict=True)
        ]
        scene, left = compose(draw, black, items, settings["overlap"])
        seen = np.flatnonzero(scene.visible > 0)
        rows = len(seen)
        found["image"][number] = scene.image
        found["boxes"][number, :rows], found["objects"][number, :rows] = scene.boxes[seen], scene.labels[seen]
        found["ignored"][number, :rows] = scene.visible[seen] < IGNORED_BELOW
        found["left"][number] = left + len(scene.labels) - rows
    return found


def _item(pixels: NDArray[np.uint8], label: int, factor: float) -> Item:
    """An item's tight box, resized."""
    down, across = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(down):
        return Item(np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1), bool), label)
    tight = pixels[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    height, width = (max(round(length * factor), 2) for length in tight.shape)
    grey = Image.fromarray(tight).resize((width, height), Image.Resampling.BILINEAR)
    cover = Image.fromarray((tight > 0).astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    return Item(np.asarray(grey)[..., None], np.asarray(cover) >= 128, label)
