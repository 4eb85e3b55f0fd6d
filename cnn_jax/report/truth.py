"""The benchmark of explanations as a figure: a panel for each measure, a dot and an interval for each method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.report.figures import BLUE, GREY, ORANGE, new_figure, save, short, tidy

COLUMNS = 4


def draw(rows: Sequence[Any], directions: Mapping[str, str], controls: Sequence[str], path: Path) -> None:
    """rows: of `explain.benchmark.table`, the best first. directions: {measure: which values are better}.

    Controls are grey with a line at the best of them. What is surely better than all of them is blue, the rest orange,
    and black where nothing is to be compared.
    """
    measured = [name for name in directions if any(np.isfinite(row.scores[name].value) for row in rows)]
    lines = -(-len(measured) // COLUMNS)
    figure = new_figure(3.2 * min(COLUMNS, len(measured)) + 1.5, lines * (1.0 + 0.22 * len(rows)))
    axes = figure.subplots(lines, min(COLUMNS, len(measured)), squeeze=False, sharey=True)
    for ax in axes.flat[len(measured) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, measured, strict=False):
        tidy(ax)
        known = [row.scores[name].value for row in rows if row.method in controls]
        judged = directions[name] != "describes" and bool(np.isfinite(known).any())
        for place, row in enumerate(rows):
            score, beaten = row.scores[name], row.beaten.get(name, [])
            sure = BLUE if len(beaten) == len(controls) else ORANGE
            sure = GREY if row.method in controls else sure if judged else "black"
            if np.isfinite(score.value):
                ax.plot([score.low, score.high], [place, place], color=sure, linewidth=1.5)
                ax.plot(score.value, place, "o", color=sure, markersize=4)
        best = {"higher is better": max, "lower is better": min}.get(directions[name])
        if best and np.isfinite(known).any():
            ax.axvline(best(value for value in known if np.isfinite(value)), color=GREY, linewidth=0.8, linestyle=":")
        ax.set_title(f"{name.replace('_', ' ')}\n{directions[name]}", fontsize=9)
        ax.set_yticks(range(len(rows)), [short(row.method, 30) for row in rows], fontsize=8)
    axes[0, 0].invert_yaxis()
    save(figure, path)
