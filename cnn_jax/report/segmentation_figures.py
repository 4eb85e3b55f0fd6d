"""Figures of the scores of a segmentation, from the tables of `evals.segmentation`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_jax.report.confusion import confusion_matrix
from cnn_jax.report.figures import BLUE, GREY, ORANGE, new_figure, save, short, tidy

Tables = Mapping[str, NDArray]

LISTED = 60  # classes in a column of names


def iou_by_class(tables: Tables, classes: Sequence[str], path: Path) -> None:
    """IoU of each class over the set with its 95 % interval, and the mean over the images that have it."""
    iou, pixels = tables["iou"], tables["pixels"]
    known = np.flatnonzero(np.isfinite(iou))
    order = known[np.argsort(iou[known], kind="stable")][:LISTED]
    figure = new_figure(8, 1.9 + 0.3 * max(len(order), 3))
    ax, places = figure.subplots(), np.arange(len(order))[::-1]
    ax.hlines(places, tables["iou_low"][order], tables["iou_high"][order], color=BLUE, linewidth=2.4, alpha=0.45)
    ax.plot(iou[order], places, "o", color=BLUE, markersize=5, label="over all pixels, with its 95 % interval")
    ax.plot(tables["image_iou"][order], places, "|", color=ORANGE, markersize=9, label="mean over images")
    names = [f"{short(classes[k], 24)}  ({pixels[k] / max(pixels.sum(), 1):.1%})" for k in order]
    ax.set_yticks(places, names, fontsize=9.5)
    ax.set(xlim=(0, 1.01), ylim=(-0.7, max(len(order), 1) - 0.3))
    ax.set_xlabel("IoU; in brackets: share of the pixels that are truly of the class", fontsize=10)
    tidy(ax)
    ax.grid(axis="y", visible=False)
    if len(order):
        figure.legend(*ax.get_legend_handles_labels(), fontsize=9, frameon=False, loc="outside lower center", ncols=2)
    else:
        ax.text(0.5, 0.5, "no pixel counts", transform=ax.transAxes, ha="center", color=GREY)
    few = f", the {LISTED} lowest of {len(known)} classes" if len(order) < len(known) else ""
    absent = len(classes) - len(known)
    ax.set_title(f"by class{few}{f', without {absent} that do not occur' if absent else ''}", fontsize=12)
    save(figure, path)


def confused_pixels(tables: Tables, classes: Sequence[str], path: Path) -> None:
    """Pixels by true class and by what was said of them."""
    matrix = tables["confusion"]
    right, total = int(np.trace(matrix)), int(matrix.sum())
    confusion_matrix(matrix, classes, path, f"{right / max(total, 1):.2%} of {total:,} pixels are right")
