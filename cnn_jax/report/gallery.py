"""Pictures of examples with what a classifier says about them. Images and 1-D signals alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from cnn_jax.data.source import Source
from cnn_jax.report.figures import BLUE, GREEN, GREY, ORANGE, new_figure, save, short

COLUMNS = 5
CHANNELS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito, one after the other


def mistakes_gallery(source: Source, index: ArrayLike, labels: ArrayLike, logits: ArrayLike, path: str | Path) -> None:
    """The 25 most confident mistakes, with what was predicted, how confidently, the truth and the position in the set.

    `source` is the split, of which only those 25 examples are read; index [N] are the positions in it that
    labels [N] and logits [N, K] belong to.
    """
    index, labels, logits = np.asarray(index), np.asarray(labels), np.asarray(logits, dtype=np.float64)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted, confidence = logits.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][: COLUMNS**2]

    count = max(1, -(-len(worst) // COLUMNS))
    classes = source.spec.classes
    figure = new_figure(10, 1 + 2.5 * count if len(worst) else 1)
    title = f"{len(wrong):,} mistakes in {len(labels):,} examples"
    if len(worst) < len(wrong):
        title += f", the {len(worst)} most confident"
    if len(worst):
        title += "\nabove: predicted, below: the truth and the position in the set"
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(count, COLUMNS, squeeze=False).ravel()
    for ax in axes[len(worst) :]:
        ax.axis("off")
    for ax, i in zip(axes, worst, strict=False):
        draw_example(ax, source[int(index[i])]["image"])
        ax.set_title(f"{short(classes[predicted[i]], 16)} {confidence[i]:.0%}", fontsize=10, color=ORANGE)
        ax.set_xlabel(f"{short(classes[labels[i]], 16)}  #{index[i]}", fontsize=10, color=BLUE)
    save(figure, path)


def annotate(image: NDArray[Any], probabilities: ArrayLike, classes: Sequence[str], path: str | Path) -> None:
    """An image [H, W, C] (uint8, or floats in 0..1) or signal [L, C] beside bars of its five most probable classes.

    probabilities [K] are in 0..1, one per name in `classes`.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    best = np.argsort(-probabilities, kind="stable")[:5]
    figure = new_figure(9, 3.7)
    picture, ax = figure.subplots(1, 2, width_ratios=[1, 1.15])
    draw_example(picture, image)
    rows = np.arange(len(best))
    ax.barh(rows, probabilities[best], height=0.5, color=[BLUE] + [GREY] * (len(best) - 1))
    for row, k in zip(rows, best, strict=True):
        ax.text(0, row - 0.32, short(classes[k], 28), fontsize=11, va="bottom")
        ax.text(1, row - 0.32, f"{probabilities[k]:.1%}", fontsize=11, va="bottom", ha="right")
    ax.set(xlim=(0, 1), ylim=(4.5, -0.8))
    ax.axis("off")
    save(figure, path)


def draw_example(ax: Axes, example: NDArray[Any]) -> None:
    """Draw an image [H, W, C], grey unless C is 3 or 4, or a signal [L, C] with a line for each channel."""
    if example.ndim == 2:
        ax.set_prop_cycle(color=CHANNELS)
        ax.plot(example, linewidth=1.2)
        ax.margins(x=0)
        ax.tick_params(labelsize=7)
    elif example.shape[-1] in (3, 4):
        ax.imshow(example, interpolation="nearest")
    else:
        white = 255 if example.dtype == np.uint8 else None
        ax.imshow(example.mean(axis=-1), cmap="gray", vmin=white and 0, vmax=white, interpolation="nearest")
    if example.ndim == 3:
        ax.set(xticks=[], yticks=[])
