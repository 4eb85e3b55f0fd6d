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


def mistakes_gallery(
    source: Source, mistakes: NDArray[np.float64], path: str | Path, *, wrong: int, total: int
) -> None:
    """The most confident mistakes, with what was predicted, how confidently, the truth and the position in the set.

    mistakes: [M, 4] rows of confidence, index in `source`, true and predicted class, the most confident first; only
    those examples are read. wrong, total: how many mistakes there are in how many examples that were scored.
    """
    worst = mistakes[: COLUMNS**2]
    count = max(1, -(-len(worst) // COLUMNS))
    classes = source.spec.classes
    figure = new_figure(10, 1 + 2.5 * count if len(worst) else 1)
    title = f"{wrong:,} mistakes in {total:,} {source.spec.units}"
    if len(worst) < wrong:
        title += f", the {len(worst)} most confident"
    if len(worst):
        title += "\nabove: predicted, below: the truth and the position in the set"
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(count, COLUMNS, squeeze=False).ravel()
    for ax in axes[len(worst) :]:
        ax.axis("off")
    examples = source.batch(worst[:, 1].astype(int))[next(iter(source.spec.inputs))] if len(worst) else ()
    for ax, example, (confidence, index, true, predicted) in zip(axes, examples, worst, strict=False):
        draw_example(ax, example)
        ax.set_title(f"{short(classes[int(predicted)], 16)} {confidence:.0%}", fontsize=10, color=ORANGE)
        ax.set_xlabel(f"{short(classes[int(true)], 16)}  #{index:.0f}", fontsize=10, color=BLUE)
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
