"""The timeline of a run as one page that opens offline: filters, feature maps and the drift of its layers."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.source import evenly
from cnn_jax.report import contact_sheet, figures
from cnn_jax.report.page import document
from cnn_jax.report.page.markup import notes, text
from cnn_jax.report.page.sections import figure

SHOWN = 12  # checkpoints of which pictures are shown, evenly chosen


def page(
    name: str,
    steps: Sequence[int],
    layers: Sequence[str],
    filters: NDArray[np.float32],
    maps: Mapping[str, NDArray[np.float32]],
    drift: NDArray[np.float64],
    last: NDArray[np.float64],
) -> str:
    """The page; what it takes is what `explain.inside.timeline` finds out, with the name of the run."""
    chosen = evenly(len(steps), SHOWN)
    pictures = lambda made: "".join(  # noqa: E731
        figure(f"step {steps[k]:,}", contact_sheet.png(made(k))) for k in chosen
    )
    pieces = [
        "<section><h2>How far each layer has come</h2>",
        figure("CKA of each layer with itself at the last checkpoint", _drift(steps, layers, drift)),
        figure("CKA between the layers at the last checkpoint", _between(layers, last)),
        notes(["1 says that the layer sees the examples as it does at the end, whatever its units are."]),
        "</section><section><h2>Filters of the first layer</h2><div class='pictures'>",
        pictures(lambda k: contact_sheet.sheet(filters[k], signed=True)),
        "</div></section>",
    ]
    for layer, seen in maps.items():
        title = f"<section><h2>Maps of {text(layer)}, {seen.shape[-1]} units, one example</h2><div class='pictures'>"
        pieces += [title, pictures(lambda k, seen=seen: contact_sheet.sheet(tiles_of(seen[k]))), "</div></section>"]
    return document.framed(f"Timeline of {name}", notes([f"{len(steps)} checkpoints"]), "".join(pieces))


def tiles_of(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """[*spatial, U] as one tile [H, W, 1] for each unit; those of signals as strips."""
    tiles = np.moveaxis(maps, -1, 0)[..., None]
    return tiles if tiles.ndim == 4 else np.repeat(tiles[:, None], 8, 1)


def _drift(steps: Sequence[int], layers: Sequence[str], drift: NDArray[np.float64]) -> bytes:
    drawn = figures.new_figure(7, 3.5)
    ax = drawn.subplots()
    figures.tidy(ax)
    colours = (figures.BLUE, figures.ORANGE, *figures.OTHERS)
    for number, (layer, values) in enumerate(zip(layers, drift.T, strict=True)):
        colour = colours[number % len(colours)]
        ax.plot(steps, values, marker="o", markersize=4, color=colour, label=figures.short(layer, 30))
    ax.set(xlabel="step", ylabel="CKA with the last", ylim=(min(0.0, float(np.nanmin(drift))), 1.05))
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figures.png(drawn)


def _between(layers: Sequence[str], last: NDArray[np.float64]) -> bytes:
    drawn = figures.new_figure(1.8 + 0.4 * len(layers), 1.2 + 0.4 * len(layers))
    ax = drawn.subplots()
    image = ax.imshow(last, vmin=0, vmax=1, cmap="viridis")
    names = [figures.short(layer, 20) for layer in layers]
    ax.set_xticks(range(len(layers)), names, rotation=90, fontsize=8)
    ax.set_yticks(range(len(layers)), names, fontsize=8)
    drawn.colorbar(image, ax=ax, shrink=0.8)
    return figures.png(drawn)
