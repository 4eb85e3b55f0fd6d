"""Figures of a run's numbers: learning curves, confusion matrix, reliability diagram.

Drawn through matplotlib's objects and never pyplot, so there is no global state and no display is needed. Colours are
those of Okabe and Ito (2008), which people with any common colour vision tell apart. Every function writes one file,
whose ending gives the format (.png, .pdf, .svg), and makes its folder.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
COLOURS = {"train": BLUE, "validation": ORANGE}
OTHERS = (GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)  # of further splits, one after the other
RATE = "learning_rate"
# What a row of training says beside the metrics of the task.
HOUSEKEEPING = ("step", "split", "time", "epoch", "grad_norm", "examples_per_second", "skipped", RATE)
LABELLED_CLASSES = 120  # above this many, class names along an axis could not be read


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
        _tidy(ax)
        for split, (steps, values) in curves[name].items():
            _draw_curve(ax, steps, values, colours[split], split)
        ax.set_ylabel(panels[name], fontsize=11)
        if name not in ("loss", RATE) and _all_shares(curves[name]):
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


def confusion_matrix(matrix: NDArray[np.int64], classes: Sequence[str], path: str | Path) -> None:
    """Counts [K, K] by true class (rows) and predicted class (columns), coloured by row percent.

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
    ax.set_title(f"{correct:,} of {total:,} correct ({correct / max(total, 1):.2%})", fontsize=13)
    bar = figure.colorbar(image, ax=ax, ticks=[0, 1, 5, 10, 25, 50, 100], fraction=0.04, pad=0.02, format="%d%%")
    bar.set_label("of the true class", fontsize=11)
    if side is None:
        _write_cells(ax, matrix, percent)
    else:
        side.axis("off")
        ax.set_anchor("N")
        side.text(0, 1, _worst_pairs(matrix, percent, classes), transform=side.transAxes, va="top", fontsize=11)
    save(figure, path)


def reliability_diagram(bins: NDArray[np.float64], path: str | Path) -> None:
    """Accuracy against confidence (Guo et al. 2017, figure 1), with the number of examples in each bin below.

    bins: [3, B] support, accuracy and mean confidence of B equally wide bins of confidence.
    """
    figure = new_figure(5.6, 6.6)
    ax, below = figure.subplots(2, sharex=True, height_ratios=[3.2, 1])
    filled = bins[0] > 0
    support, accuracy, confidence = bins[:, filled]
    width = 1 / bins.shape[1]
    left, gap = np.flatnonzero(filled) * width, confidence - accuracy
    ax.bar(left, accuracy, width, align="edge", color=BLUE, edgecolor="white", label="accuracy")
    ax.bar(left, gap, width, accuracy, align="edge", color="none", edgecolor=ORANGE, hatch="////", label="gap")
    ax.plot([0, 1], [0, 1], "--", color="black", linewidth=1.2, zorder=3, label="perfect calibration")
    ece = np.sum(np.abs(gap) * support) / support.sum()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_ylabel("accuracy", fontsize=11)
    ax.set_title(f"expected calibration error {ece:.2%}", fontsize=12)
    ax.legend(fontsize=10, frameon=False, loc="upper left")
    below.bar(left, support, width, align="edge", color=GREY, edgecolor="white")
    below.set_xlabel("confidence", fontsize=11)
    below.set_ylabel("examples", fontsize=11)
    below.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    for axis in (ax, below):
        _tidy(axis)
    save(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that keeps its parts apart and off its edges."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure to `path`, making the folder if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, facecolor="white")


def printable(name: str) -> str:
    """A name from outside as it may go to a terminal: on one line, without control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(name))


def short(name: str, length: int) -> str:
    """A class name cut to `length` printable characters on one line, with $ kept from starting a formula."""
    name = printable(" ".join(str(name).split()))
    name = name if len(name) <= length else name[: length - 1] + "…"
    return name.replace("$", r"\$")


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


def _draw_curve(ax: Axes, steps: NDArray[Any], values: NDArray[Any], colour: str, label: str) -> None:
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    marker = "o" if len(steps) <= 30 else ""
    window = len(steps) // 40
    if window > 1:
        ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        # Near an end the window is cut, and values that are not finite do not count.
        kernel = np.ones(window)
        weight = np.convolve(finite, kernel, "same")
        mean = np.convolve(np.nan_to_num(values), kernel, "same") / np.maximum(weight, 1)
        values = np.where(finite, mean, np.nan)
    ax.plot(steps, values, color=colour, linewidth=1.8, marker=marker, markersize=4, label=label)
    if not finite.all():
        bad = steps[~finite]
        foot = ax.get_xaxis_transform()
        ax.plot(bad, np.full(len(bad), 0.03), "x", color=colour, transform=foot, label=f"{label} not finite")


def _write_cells(ax: Axes, matrix: NDArray[np.int64], percent: NDArray[np.float64]) -> None:
    font = float(np.clip(80 / len(matrix), 8, 11))
    for (true, predicted), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if percent[true, predicted] > 35 else "black"
            text = f"{percent[true, predicted]:.1f}%\n{count:,}"
            ax.text(predicted, true, text, ha="center", va="center", fontsize=font, color=colour)


def _worst_pairs(matrix: NDArray[np.int64], percent: NDArray[np.float64], classes: Sequence[str]) -> str:
    wrong = matrix * (1 - np.eye(len(classes), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:30]
    pairs = [np.unravel_index(i, wrong.shape) for i in order if wrong.flat[i]]
    lines = [
        f"{short(classes[t], 18)} → {short(classes[p], 18)}: {matrix[t, p]:,} ({percent[t, p]:.0f}%)" for t, p in pairs
    ]
    return "\n".join(["most frequent confusions", "(true → predicted)", "", *(lines or ["none"])])


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=10)
