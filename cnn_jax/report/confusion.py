"""A confusion matrix drawn: of the classes of examples, or of objects and background."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray

from cnn_jax.report.figures import new_figure, save, short

LABELLED_CLASSES = 120  # above this many, class names along an axis could not be read


def confusion_matrix(
    matrix: NDArray[np.int64], classes: Sequence[str], path: str | Path, title: str | None = None
) -> None:
    """Counts [K, K] by true class (rows) and predicted class (columns), coloured by row percent.

    title: by default how many are right.
    Up to 20 classes each cell says its percent of the row and its count; with more, the most frequent
    confusions are listed beside the matrix. Raises ValueError if the class names do not fit the matrix.
    """
    matrix, count = np.asarray(matrix), len(classes)
    if matrix.shape != (count, count):
        raise ValueError(f"a confusion matrix of {count} classes must be [{count}, {count}], got {matrix.shape}")
    percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    few = count <= 20
    size = float(np.clip(0.75 * count, 3.2, 11)) if few else 13.0
    figure = new_figure(size + (2.4 if few else 5.2), size + 1.2)
    ax, side = (figure.subplots(), None) if few else figure.subplots(1, 2, width_ratios=[size, 3.2])
    # The square root gives the few percent that are confused a colour of their own.
    image = ax.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    if count <= LABELLED_CLASSES:
        names, font = [short(name, 18) for name in classes], float(np.clip(700 / count, 6.5, 11))
        ax.set_xticks(range(count), names, fontsize=font, rotation=0 if max(map(len, names)) < 4 else 90)
        ax.set_yticks(range(count), names, fontsize=font)
    ax.set_xlabel("predicted", fontsize=12)
    ax.set_ylabel("true", fontsize=12)
    correct, total = int(np.trace(matrix)), int(matrix.sum())
    ax.set_title(title or f"{correct:,} of {total:,} correct ({correct / max(total, 1):.2%})", fontsize=13)
    bar = figure.colorbar(image, ax=ax, ticks=[0, 1, 5, 10, 25, 50, 100], fraction=0.04, pad=0.02, format="%d%%")
    bar.set_label("of the true class", fontsize=11)
    if side is None:
        _write_cells(ax, matrix, percent)
    else:
        side.axis("off")
        ax.set_anchor("N")
        side.text(0, 1, _worst_pairs(matrix, percent, classes), transform=side.transAxes, va="top", fontsize=11)
    save(figure, path)


def _write_cells(ax: Axes, matrix: NDArray[np.int64], percent: NDArray[np.float64]) -> None:
    font = float(np.clip(80 / len(matrix), 8, 11))
    for (true, predicted), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if percent[true, predicted] > 35 else "black"
            text = f"{percent[true, predicted]:.1f}%\n{_few_digits(int(count))}"
            ax.text(predicted, true, text, ha="center", va="center", fontsize=font, color=colour)


def _few_digits(count: int) -> str:
    """A count as a cell has room for it: 12,345, but 123 k for 123,456."""
    for unit, size in ((" G", 10**9), (" M", 10**6), (" k", 10**3)):
        if count >= max(size, 10**5):
            return f"{count / size:.3g}{unit}" if count < 1000 * size else f"{count / size:,.0f}{unit}"
    return f"{count:,}"


def _worst_pairs(matrix: NDArray[np.int64], percent: NDArray[np.float64], classes: Sequence[str]) -> str:
    wrong = matrix * (1 - np.eye(len(classes), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:30]
    pairs = [np.unravel_index(i, wrong.shape) for i in order if wrong.flat[i]]
    lines = [
        f"{short(classes[t], 18)} → {short(classes[p], 18)}: {matrix[t, p]:,} ({percent[t, p]:.0f}%)" for t, p in pairs
    ]
    return "\n".join(["most frequent confusions", "(true → predicted)", "", *(lines or ["none"])])
