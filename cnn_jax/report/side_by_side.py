"""The figure of runs side by side: curves of training and validation over each other, and final scores."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from cnn_jax.evals import seeds
from cnn_jax.report.compare import shared_split
from cnn_jax.report.figures import (
    BLUE,
    GREEN,
    ORANGE,
    learning_curves,
    new_figure,
    save,
    short,
    smoothed,
    tidy,
)
from cnn_jax.report.runs import LAST_STEP, VALIDATION, Group, scored_at

COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "black")
LINES = ("-", "--", ":")  # one after the other where there are more groups than colours
MOST = len(COLOURS) * len(LINES)  # groups that can be told apart
SPLITS = ("train", VALIDATION)
FAR = 50.0  # the largest loss over the smallest above which one curve would press the others onto a line

Style = Mapping[str, Any]
Curve = tuple[NDArray[Any], NDArray[Any]]


def draw(groups: Sequence[Group], path: Path) -> None:
    """Writes the figure of the first MOST groups; of a single run its learning curves.

    A group of several seeds is drawn as their mean within a band, its 95 % interval.
    """
    groups = groups[:MOST]
    headline = groups[0].runs[0].headline
    if len(groups) == len(groups[0].runs) == 1:
        learning_curves(groups[0].runs[0].rows, path, {"loss": "loss", headline: short(headline, 30)})
        return
    styles = [dict(color=colour, linestyle=line) for line, colour in itertools.product(LINES, COLOURS)]
    by_epoch = len({_steps_per_epoch(group) for group in groups}) > 1
    metrics = ["loss"] if headline == "loss" else ["loss", headline]
    panels = {(m, s): [_curves(group, s, m, by_epoch) for group in groups] for m in metrics for s in SPLITS}
    rows = [metric for metric in metrics if any(any(panels[metric, split]) for split in SPLITS)]
    foot = 0.9 + 0.28 * len(groups)
    figure = new_figure(11.5, 3.1 * len(rows) + foot + 0.5)
    grid = GridSpec(len(rows) + 1, 2, figure=figure, height_ratios=[3.1] * len(rows) + [foot])
    for row, metric in enumerate(rows):
        there = [split for split in SPLITS if any(panels[metric, split])]
        before = None
        for column, split in enumerate(there):
            ax = figure.add_subplot(grid[row, column] if len(there) == 2 else grid[row, :], sharey=before)
            before = ax
            _panel(ax, panels[metric, split], styles, metric, split, "epoch" if by_epoch else "step")
    _finals(figure.add_subplot(grid[len(rows), :]), groups, headline, styles)
    _legend(figure, groups, styles)
    save(figure, path)


def _steps_per_epoch(group: Group) -> float:
    found = (row["step"] / row["epoch"] for run in group.runs for row in run.rows if row.get("epoch"))
    return round(next(found, 0.0), 3)


def _curves(group: Group, split: str, metric: str, by_epoch: bool) -> list[Curve]:
    """(steps or epochs, values) of each run of the group that logged the metric."""
    at, found = "epoch" if by_epoch else "step", []
    for run in group.runs:
        points = [(row[at], row[metric]) for row in run.rows if row["split"] == split and metric in row and at in row]
        if points:
            places, values = np.array(points, dtype=float).T
            found.append((places, values))
    return found


def _panel(
    ax: Axes, curves: Sequence[Sequence[Curve]], styles: Sequence[Style], metric: str, split: str, at: str
) -> None:
    tidy(ax)
    for found, style in zip(curves, styles, strict=False):
        _draw(ax, found, style)
    ax.set_title(split, fontsize=11, loc="left")
    ax.set_xlabel(at, fontsize=10)
    ax.set_ylabel(short(metric, 30), fontsize=11)
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.set_xlim(left=0)
    every = np.concatenate([values for found in curves for _, values in found])
    every = every[np.isfinite(every)]
    if metric == "loss" and len(every) and every.max() > FAR * every.min() > 0:
        ax.set_yscale("log")
    if metric != "loss" and _is_share(every):
        ax.yaxis.set_major_formatter(PercentFormatter(1))


def _draw(ax: Axes, curves: Sequence[Curve], style: Style) -> None:
    if not curves:
        return
    marker: Style = dict(marker="o", markersize=3.5) if len(curves[0][0]) <= 12 else {}
    values = [smoothed(values) for _, values in curves]
    same = all(np.array_equal(places, curves[0][0]) for places, _ in curves)
    if len(curves) == 1 or not same:
        for (places, _), one in zip(curves, values, strict=True):
            ax.plot(places, one, linewidth=1.8 if len(curves) == 1 else 0.9, **marker, **style)
        return
    places, (mean, low, high) = curves[0][0], seeds.means(np.array(values))
    ax.plot(places, mean, linewidth=1.8, **marker, **style)
    limits = ax.dataLim.frozen()  # those of the means: the interval of two seeds would press all curves onto a line
    ax.fill_between(places, low, high, color=style["color"], alpha=0.15, linewidth=0)
    ax.dataLim.set(limits)


def _finals(ax: Axes, groups: Sequence[Group], name: str, styles: Sequence[Style]) -> None:
    """The final headline of each group with its interval, and of several runs each of them."""
    tidy(ax)
    every: list[float] = []
    splits = [shared_split(groups[0], group, name) for group in groups]
    for row, (group, split, style) in enumerate(zip(groups, splits, styles, strict=False)):
        if split is None:
            ax.text(0.01, row, "not scored on the same split", transform=ax.get_yaxis_transform(), va="center")
            continue
        values, score = group.values(split, name), group.score(split, name)
        if score is None:  # there is one on a split that is shared
            continue
        middle, low, high = score.value, score.low, score.high
        low, high = middle if low is None else low, middle if high is None else high
        if len(values) > 1:
            ax.plot(values, [row] * len(values), "|", color=style["color"], markersize=9)
        ax.plot([low, high], [row, row], linewidth=2.2, **style)
        ax.plot([middle], [row], "o", color=style["color"], markersize=6)
        every += values  # an interval may reach beyond what a score can be
    ax.set_yticks(range(len(groups)), [_named(group) for group in groups], fontsize=9.5)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.margins(x=0.04)
    if _is_share(np.array(every)):
        ax.xaxis.set_major_formatter(PercentFormatter(1))
    parts = ["95 % interval of one run" * any(len(group.runs) == 1 for group in groups)]
    parts.append("95 % interval over n seeds" * any(len(group.runs) > 1 for group in groups))
    scored = " and ".join(dict.fromkeys(split for split in splits if split))
    at = "last step" if scored_at(groups) == LAST_STEP else "last or best step"
    ax.set_title(f"{scored} {short(name, 30)}, {at}; bars: {', '.join(filter(None, parts))}", fontsize=11, loc="left")


def _named(group: Group) -> str:
    return short(group.label, 32) + (f" (n={len(group.runs)})" if len(group.runs) > 1 else "")


def _legend(figure: Figure, groups: Sequence[Group], styles: Sequence[Style]) -> None:
    ax = figure.axes[0]
    handles = [ax.plot([], [], linewidth=1.8, **style)[0] for _, style in zip(groups, styles, strict=False)]
    labels = [_named(group) for group in groups]
    columns = max(1, min(4, len(groups), 110 // (max(map(len, labels)) + 8)))
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, fontsize=10, frameon=False)


def _is_share(values: NDArray[Any]) -> bool:
    return bool(len(values)) and bool(((values >= 0) & (values <= 1)).all())
