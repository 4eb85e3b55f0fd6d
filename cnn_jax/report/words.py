"""Texts whose words are coloured by what they count, a block for each method; under each what was measured on it."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cnn_jax.paths import printable
from cnn_jax.report.attribution import Panel
from cnn_jax.report.figures import GREY, save, short, written_size

WIDTH, MARGIN = 560.0, 14.0  # points of a figure
SIZE, SMALL, LINE = 10.0, 7.0, 1.7  # letters of the text and below it, and the height of a line in letters
MOST = 1200  # letters, or words, that are drawn
CAPTION = 130  # letters of a line below a text


class Place(NamedTuple):
    """Where a letter or word stands, in points from the upper left corner of its text."""

    left: float
    top: float
    width: float


def draw(letters: Sequence[str], apart: bool, title: str, panels: Sequence[Panel], path: Path) -> None:
    """Writes one figure. letters: what is coloured; apart: whether there are blanks between them, as between words.

    The places of a panel are what each of them counts.
    """
    left_out = len(letters) - MOST
    letters = [short(letter, 60) for letter in letters[:MOST]]
    places, height = _set(letters, apart)
    captions = [_wrapped(panel.lines) for panel in panels]
    head = _wrapped([title] + ([f"the first {MOST} are drawn, {left_out} more are not"] if left_out > 0 else []))
    blocks = [2.2 * SIZE + height + 1.3 * SMALL * len(lines) for lines in captions]
    whole = 2 * MARGIN + 1.3 * SMALL * len(head) + sum(blocks)
    figure = Figure(figsize=(WIDTH / 72, whole / 72))
    ax = figure.add_axes((0, 0, 1, 1))  # whose units are points, from the upper left corner
    ax.set(xlim=(0, WIDTH), ylim=(whole, 0))
    ax.set_axis_off()
    top = MARGIN + 1.3 * SMALL * len(head)
    ax.text(MARGIN, MARGIN, "\n".join(head), fontsize=SMALL, color=GREY, va="top")
    for panel, lines, block in zip(panels, captions, blocks, strict=True):
        ax.text(MARGIN, top + 1.4 * SIZE, panel.name, fontsize=SIZE, fontweight="bold", va="baseline")
        start = top + 2 * SIZE
        for letter, place, colour in zip(letters, places, _colours(panel), strict=False):
            corner = (MARGIN + place.left, start + place.top)
            ax.add_patch(Rectangle(corner, place.width, 1.45 * SIZE, facecolor=colour, edgecolor="none"))
            dark = np.dot(colour[:3], (0.3, 0.6, 0.1)) < 0.5
            middle = (corner[0] + place.width / 2, corner[1] + 1.1 * SIZE)
            ax.text(*middle, letter, fontsize=SIZE, ha="center", va="baseline", color="white" if dark else "black")
        ax.text(MARGIN, start + height, "\n".join(lines), fontsize=SMALL, color=GREY, va="top")
        top += block
    save(figure, path)


def _set(letters: Sequence[str], apart: bool) -> tuple[list[Place], float]:
    """The place of each letter, and the height of all lines. Lines are broken between words of single letters, too."""
    gap, right = (0.35 * SIZE if apart else 0.0), WIDTH - 2 * MARGIN
    around = 0.3 * SIZE if apart else 0.12 * SIZE
    widths = [max(written_size(letter, SIZE)[0], 0.3 * SIZE) + around for letter in letters]
    left = top = 0.0
    places = []
    for number, width in enumerate(widths):
        ahead = width
        if not apart and (number == 0 or letters[number - 1].isspace()):
            ahead = sum(widths[number : _end(letters, number)])
        if left and left + min(ahead, right) > right:
            left, top = 0.0, top + LINE * SIZE
        places.append(Place(left, top, width))
        left += width + gap
    return places, top + LINE * SIZE


def _end(letters: Sequence[str], start: int) -> int:
    return next((k for k in range(start, len(letters)) if letters[k].isspace()), len(letters))


def _colours(panel: Panel) -> NDArray[np.float64]:
    values = np.asarray(panel.places, np.float64)
    largest = np.abs(values).max(initial=0) or 1.0
    if panel.signed:
        return np.asarray(colormaps["RdBu_r"](0.5 + 0.4 * values / largest))
    return np.asarray(colormaps["Reds"](0.7 * np.maximum(values, 0) / largest))


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(short(line, 400), CAPTION)]


def strongest(words: Sequence[str], values: NDArray[np.float64], *, signed: bool = True, most: int = 5) -> str:
    """What counted most, for the target and against it, in a line: "for good +1.20, film +0.10; against bad -0.50"."""
    order = np.argsort(-values, kind="stable")

    def said(places: Sequence[int]) -> str:
        shown = [printable(words[k])[:40] for k in places]
        marked = [word if any(map(str.isalnum, word)) else f"'{word}'" for word in shown]
        return ", ".join(f"{word} {values[k]:+.3g}" for word, k in zip(marked, places, strict=True))

    first = said([k for k in order[:most] if values[k] > 0])
    last = said([k for k in order[::-1][:most] if values[k] < 0]) if signed else ""
    if not signed:
        return f"most {first or 'nothing'}"
    return "; ".join([f"for {first}"] * bool(first) + [f"against {last}"] * bool(last)) or "nothing counts"
