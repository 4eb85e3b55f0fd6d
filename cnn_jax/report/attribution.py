"""Maps of what counted for a model's answer, laid over what it read; under each what was measured on it."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cnn_jax.data.source import evenly
from cnn_jax.report.figures import GREY, ORANGE, draw_example, new_figure, save, short

COLUMNS = 4
STRONGEST = 99.5  # percentile of the sizes from which on a colour is the strongest: single pixels would hide the rest
WIDTH = 46  # letters of a line under a map
BINS = 200  # parts of a signal that have a colour of their own, at most


class Panel(NamedTuple):
    """places: [*spatial], signed or not. lines: what is said under it."""

    name: str
    places: NDArray[Any]
    signed: bool
    lines: Sequence[str]


def draw(
    example: NDArray[Any],
    title: str,
    panels: Sequence[Panel],
    path: Path,
    box: Sequence[float] | None = None,
    region: NDArray[Any] | None = None,
    seconds: tuple[float, float] | None = None,
) -> None:
    """Writes one figure: the example [H, W, C] or [L, C] as the model reads it, before normalisation, and each map.

    box: left, top, right and bottom of what was found; region: [H, W], 1 where the pixels are that are explained.
    seconds: of a sound its start and end; the example is then its spectra [T, F, C], or its samples.
    """
    if seconds is not None and example.ndim == 3:  # time goes to the right, and low tones are below
        example = np.flip(example.swapaxes(0, 1), 0)
        panels = [panel._replace(places=np.flip(panel.places.T, 0)) for panel in panels]
    columns = min(COLUMNS, 1 + len(panels))
    rows = -(-(1 + len(panels)) // columns)
    figure = new_figure(3.3 * columns, (4.4 if example.ndim == 3 else 3.2) * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    draw_example(axes[0], example)
    if box is not None:
        left, top, right, bottom = box
        axes[0].add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=ORANGE, linewidth=2))
    if region is not None:
        axes[0].contour(region, [0.5], colors=ORANGE, linewidths=1.5)
    _caption(axes[0], "input", [title])
    for ax, panel in zip(axes[1:], panels, strict=False):
        _draw_map(ax, example, panel)
        _caption(ax, panel.name, panel.lines)
    for ax in axes[1 + len(panels) :]:
        ax.set_axis_off()
    if seconds is not None:
        for ax in axes[: 1 + len(panels)]:
            _in_seconds(ax, example, seconds)
    save(figure, path)


def _caption(ax: Axes, name: str, lines: Sequence[str]) -> None:
    ax.set_title(name, fontsize=10)
    wrapped = [part for line in lines for part in textwrap.wrap(short(line, 300), WIDTH)]
    ax.set_xlabel("\n".join(wrapped), fontsize=7, color=GREY, loc="left")


def _in_seconds(ax: Axes, example: NDArray[Any], seconds: tuple[float, float]) -> None:
    """Says along an axis when it was, and of spectra which bin it is."""
    start, end = seconds
    count = example.shape[1] if example.ndim == 3 else len(example)
    marks = np.linspace(0, count, 5)
    ax.set_xticks(marks - 0.5, [f"{start + (end - start) * mark / count:.2g} s" for mark in marks], fontsize=7)
    if example.ndim == 3:
        ax.set_aspect("auto")
        bins = evenly(example.shape[0], 5)
        ax.set_yticks(example.shape[0] - 1 - bins, [f"bin {1 + n}" for n in bins], fontsize=7)


def _binned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over parts of a long signal: of single samples of both signs nothing would be seen."""
    edges = np.linspace(0, len(values), min(len(values), BINS) + 1).astype(int)
    return np.add.reduceat(values, edges[:-1])


def _draw_map(ax: Axes, example: NDArray[Any], panel: Panel) -> None:
    values = np.asarray(panel.places, np.float64)
    values = _binned(values) if example.ndim == 2 else values
    largest = np.percentile(np.abs(values), STRONGEST) or np.abs(values).max() or 1.0
    scaled = np.clip(values / largest, -1, 1)
    both = panel.signed and (values < 0).any()
    if example.ndim == 2:
        ax.plot(example.mean(-1), color=GREY, linewidth=0.8)
        low, high = ax.get_ylim()
        strip, extent = scaled[None], (-0.5, len(example) - 0.5, low, high)
        colours = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1} if both else {"cmap": "Reds", "vmin": 0, "vmax": 1}
        ax.imshow(strip, aspect="auto", extent=extent, alpha=0.6, **colours)  # type: ignore[arg-type]
        ax.tick_params(labelsize=7)
        return
    pixels = example / 255 if example.dtype == np.uint8 else example.astype(np.float64)
    low, high = pixels.min(), pixels.max()
    grey = ((pixels - low) / max(high - low, 1e-12)).mean(-1)
    under = 0.55 + 0.45 * grey[..., None].repeat(3, -1)  # faint, so that colours are seen on black, too
    over = colormaps["RdBu_r"](0.5 + scaled / 2) if both else colormaps["inferno"](np.maximum(scaled, 0))
    share = np.sqrt(np.abs(scaled))[..., None] if both else 0.75 * np.maximum(scaled, 0)[..., None]
    ax.imshow(np.clip((1 - share) * under + share * over[..., :3], 0, 1), interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
