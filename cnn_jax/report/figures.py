"""What the figures of all tasks share: learning curves, an example drawn, colours and names, files.

Drawn through matplotlib's objects and never pyplot, so there is no global state and no display is needed. Colours are
those of Okabe and Ito (2008), which people with any common colour vision tell apart. Every function writes one file,
whose ending gives the format (.png, .pdf, .svg), and makes its folder.
"""

import io
import itertools
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.spec import Spec
from cnn_jax.data.text import TextPrepare, written_out
from cnn_jax.paths import printable
from cnn_jax.report import fonts
from cnn_jax.report.sound import Spectrum, draw_spectrum, spectrum

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
COLOURS = {"train": BLUE, "validation": ORANGE}
OTHERS = (GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)  # of further splits, one after the other
RATE = "learning_rate"
DPI = 130
LETTERS, LINES = 26, 9  # of a text that is drawn: in a line, and how many
SMOOTHED = 150  # a curve of more points is drawn as its moving average, too
CHANNELS = (BLUE, ORANGE, *OTHERS[:4])  # of a signal, one after the other
# What a row of training says beside the metrics of the task.
HOUSEKEEPING = ("step", "split", "time", "epoch", "grad_norm", "examples_per_second", "skipped", RATE)


def learning_curves(
    rows: Sequence[Mapping[str, Any]], path: str | Path, panels: Mapping[str, str] | None = None
) -> None:
    """Metrics and the learning rate against step, from the rows of `report.log.read`.

    panels: {metric: title}; by default every metric that training logs. Each has a curve for each split that logged it,
    a panel without numbers is left out, and one whose values all lie in [0, 1] is in percent. A long noisy curve is
    drawn faint under its moving average. Steps with a NaN or infinite value are marked at the foot. Rows with an
    "epoch" give the second axis.
    """
    logged = dict.fromkeys(name for row in rows if row["split"] == "train" for name in row if name not in HOUSEKEEPING)
    panels = {**(panels or {name: name for name in logged}), RATE: "learning rate"}
    curves = {name: _curves(rows, name) for name in panels}
    others = dict.fromkeys(row["split"] for row in rows if row["split"] not in COLOURS)
    colours = {**COLOURS, **dict(zip(others, itertools.cycle(OTHERS), strict=False))}  # the same in every panel
    names = [name for name in panels if curves[name]] or [next(iter(panels))]
    heights = [1.0 if name == RATE else 2.6 for name in names]
    figure = new_figure(8, 1.2 + 1.05 * sum(heights))
    axes = figure.subplots(len(names), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for name, ax in zip(names, axes, strict=True):
        tidy(ax)
        for split, (steps, values) in curves[name].items():
            _draw_curve(ax, steps, values, colours[split], split)
        ax.set_ylabel(panels[name], fontsize=11)
        if not panels[name].startswith("loss") and name != RATE and _all_shares(curves[name]):
            ax.yaxis.set_major_formatter(PercentFormatter(1))
        if curves[name] and name != RATE:
            ax.legend(fontsize=10, frameon=False)
    if not any(curves.values()):
        axes[0].text(0.5, 0.5, "nothing logged yet", transform=axes[0].transAxes, ha="center", color=GREY)
    axes[-1].set_xlabel("step", fontsize=11)
    axes[-1].xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    axes[-1].set_xlim(0, 1.02 * max((row["step"] for row in rows), default=1) or 1)
    epochs = [(row["step"], row["epoch"]) for row in rows if row.get("epoch")]
    if epochs:
        steps_per_epoch = epochs[-1][0] / epochs[-1][1]
        top = axes[0].secondary_xaxis("top", functions=(lambda x: x / steps_per_epoch, lambda x: x * steps_per_epoch))
        top.set_xlabel("epoch", fontsize=11)
    save(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that keeps its parts apart and off its edges."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure to `path`, making the folder if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _write(figure, path)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    _write(figure, buffer, "png")
    return buffer.getvalue()


def _write(figure: Figure, target: str | Path | IO[bytes], kind: str | None = None) -> None:
    with lettered(figure):
        figure.savefig(target, dpi=DPI, facecolor="white", format=kind)


@contextmanager
def lettered(figure: Figure) -> Iterator[None]:
    """To draw a figure in, with fonts that have all its letters, as far as there are such."""
    fonts.cover(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # which letters, `cover` has said
        yield


def short(name: str, length: int) -> str:
    """A class name cut to `length` printable characters on one line, with $ kept from starting a formula."""
    name = printable(" ".join(str(name).split()))
    name = name if len(name) <= length else name[: length - 1] + "…"
    return name.replace("$", r"\$")


def written_size(text: str, points: float) -> tuple[float, float]:
    """Width and height of a text in letters of so many points, in points."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # another has it, see `fonts.cover`
        width, *_ = text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)  # as large as the font, not 0.6 of it
    return width + 0.4 * points * wide, 1.3 * points


def shown(example: NDArray[Any], spec: Spec) -> NDArray[Any] | Spectrum | str:
    """An example as people see it: a text in words, a sound [L, C] by its spectrum, any other as it is."""
    if isinstance(spec.prepare, TextPrepare):
        return written_out(example, spec.prepare)
    return spectrum(example, spec.prepare.rate) if isinstance(spec.prepare, SoundPrepare) else example


def draw_example(ax: Axes, example: NDArray[Any] | Spectrum | str) -> None:
    """Draw an image [H, W, C], grey unless C is 3 or 4, a signal [L, C] as lines, the spectrum of a sound, a text."""
    if isinstance(example, Spectrum):
        draw_spectrum(ax, example)
        return
    if isinstance(example, str):
        lines = textwrap.wrap(short(example, LINES * LETTERS), LETTERS, max_lines=LINES, placeholder="…")
        ax.text(0, 1, "\n".join(lines), transform=ax.transAxes, fontsize=8, va="top")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        return
    if example.ndim == 2:
        ax.set_prop_cycle(color=CHANNELS)
        ax.plot(example, linewidth=1.2)
        ax.margins(x=0)
        ax.tick_params(labelsize=7)
    elif example.shape[-1] in (3, 4):
        ax.imshow(example, interpolation="antialiased")
    else:
        white = 255 if example.dtype == np.uint8 else None
        ax.imshow(example.mean(axis=-1), cmap="gray", vmin=white and 0, vmax=white, interpolation="antialiased")
    if example.ndim == 3:
        ax.set(xticks=[], yticks=[])


def _curves(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """{split: (steps, values)} of the metric, training first."""
    curves = {}
    for split in dict.fromkeys([*COLOURS, *(row["split"] for row in rows)]):
        found = [(row["step"], row[name]) for row in rows if row["split"] == split and name in row]
        if found:
            steps, values = np.array(found, dtype=float).T
            curves[split] = steps, values
    return curves


def _all_shares(curves: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> bool:
    values = np.concatenate([values for _, values in curves.values()] or [np.zeros(0)])
    return bool(((values >= 0) & (values <= 1) | ~np.isfinite(values)).all())


def smoothed(values: NDArray[Any]) -> NDArray[Any]:
    """The moving average of a curve of more than SMOOTHED points; of a shorter one, itself. NaN where not finite."""
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    if len(values) <= SMOOTHED:
        return values
    # The window is odd, so that the average stands where its values do. Near an end it is cut, and values that are not
    # finite do not count.
    kernel = np.ones(len(values) // 40 | 1)
    weight = np.convolve(finite, kernel, "same")
    mean = np.convolve(np.nan_to_num(values), kernel, "same") / np.maximum(weight, 1)
    return np.where(finite, mean, np.nan)


def _draw_curve(ax: Axes, steps: NDArray[Any], values: NDArray[Any], colour: str, label: str) -> None:
    finite = np.isfinite(values)
    marker = "o" if len(steps) <= 30 else ""
    if len(steps) > SMOOTHED:
        ax.plot(steps, np.where(finite, values, np.nan), color=colour, alpha=0.25, linewidth=0.8)
    ax.plot(steps, smoothed(values), color=colour, linewidth=1.8, marker=marker, markersize=4, label=label)
    if not finite.all():
        bad = steps[~finite]
        foot = ax.get_xaxis_transform()
        ax.plot(bad, np.full(len(bad), 0.03), "x", color=colour, transform=foot, label=f"{label} not finite")


def tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=10)
