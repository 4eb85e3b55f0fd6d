"""Boxes drawn on a picture, each with a name."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from cnn_jax.report.figures import BLUE, GREEN, ORANGE, draw_example, short

# Told apart with any common colour vision, and on light and dark pictures alike: Okabe & Ito's without black.
COLOURS = (ORANGE, "#56B4E9", "#E69F00", GREEN, "#CC79A7", "#F0E442", BLUE)


def draw_boxes(
    ax: Axes,
    picture: np.ndarray,
    size: Sequence[int],
    boxes: ArrayLike,
    labels: Sequence[str],
    colours: Sequence[str],
    *,
    style: str = "-",
    fontsize: float = 9,
) -> None:
    """Draws a picture [h, w, C] with boxes [N, 4] and what is written at the upper left corner of each ("" = nothing).

    size: height and width in whose pixels the boxes are; the picture may be a smaller copy. style: of the lines, as
    matplotlib has them.
    """
    height, width = size[:2]
    draw_example(ax, picture)
    ax.images[-1].set_extent((0, width, height, 0))
    ax.set(xlim=(0, width), ylim=(height, 0))
    for (left, top, right, bottom), label, colour in zip(np.reshape(boxes, (-1, 4)), labels, colours, strict=True):
        ax.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.6, ls=style)
        )
        if label:
            ax.text(
                max(left, 0),
                max(top, 0),
                short(label, 30),
                fontsize=fontsize,
                va="bottom" if top > height / 20 else "top",
                color="black",
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 1, "alpha": 0.85},
                clip_on=True,
            )


def colours_of(labels: Sequence[int]) -> list[str]:
    """A colour for each class, by its number; classes that are many share some."""
    return [COLOURS[label % len(COLOURS)] for label in labels]
