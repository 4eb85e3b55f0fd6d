"""How much of a segmenter's loss is items that are named in parts: each item of scenes named by most of its pixels.

Command: python experiments/studies/named_items.py runs/scenes_segmentation/seed0 runs/scenes_segmentation/seed1
Time: a minute a run on two CPU cores
Needs: apt-get install dataset-fashion-mnist

The class maps of a trained segmenter are scored twice on the test split of its scenes: as they are, and after every
item, whose outline is taken from the truth, has got the one name that most of its pixels have. What the second gains is
lost to items that have several names; what is then missing to 1 is lost to items with a wrong one.

Prints a table.
"""

import statistics

import jax
import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.scenes import scenes
from cnn_jax.data.source import opened
from cnn_jax.inspect.table import table
from cnn_jax.launch import script
from cnn_jax.launch.cli import UsageError
from cnn_jax.paths import written
from cnn_jax.train.predictor import load, predict

MIXED = 0.95  # of an item's pixels: with fewer of one name it is named in parts


def main(words: list[str]) -> None:
    if not words:
        raise UsageError("say the folders of trained runs of scenes_segmentation")
    items = scenes(targets="instances")["test"]
    outlines = items.batch(np.arange(len(items)))["instances"]
    rows = [measured(word, outlines) for word in words]
    means = ["mean", *(f"{statistics.mean(row[k] for row in rows):.3f}" for k in range(4))]
    shown = [[word, *(f"{value:.3f}" for value in row)] for word, row in zip(words, rows, strict=True)]
    head = ("run", "mean IoU", "with a name for each item", "items named right", "named in parts")
    print(table(head, [*shown, means]))


def measured(word: str, outlines: NDArray[np.integer]) -> tuple[float, float, float, float]:
    """Of a run: mean IoU as it is, and with one name for each item; the share of items with the right name, and of
    those of which less than MIXED has one."""
    found = load(written(word), devices=jax.devices()[:1])
    if found.config is None:
        raise ValueError(f"'{word}' was imported: give a run that was trained on scenes")
    test = opened(found.config.data.source)["test"]
    batch = test.batch(np.arange(len(test)))
    truth, classes = batch["class_map"], len(test.spec.classes)
    if truth.shape != outlines.shape:
        raise ValueError(f"'{word}' was trained on other scenes than those of scenes()")
    said = predict(found.predictor, {name: batch[name] for name in test.spec.inputs})["class_map"]
    named, right, mixed = said.copy(), list[bool](), list[bool]()
    for place, outline in enumerate(outlines):
        for number in np.unique(outline[outline > 0]):
            item = outline == number
            counts = np.bincount(said[place][item], minlength=classes)
            counts[0] = 0  # where an item lies is given
            name = counts.argmax()
            named[place][item] = name
            right.append(bool(name == np.bincount(truth[place][item]).argmax()))
            mixed.append(bool(counts.max() < MIXED * item.sum()))
    return mean_iou(truth, said, classes), mean_iou(truth, named, classes), float(np.mean(right)), float(np.mean(mixed))


def mean_iou(truth: NDArray[np.integer], said: NDArray[np.integer], classes: int) -> float:
    pairs = np.bincount(truth.ravel().astype(np.int64) * classes + said.ravel(), minlength=classes**2)
    counts = pairs.reshape(classes, classes)
    both = np.diag(counts)
    return float((both / (counts.sum(0) + counts.sum(1) - both)).mean())


if __name__ == "__main__":
    script.run(main, words=True)
