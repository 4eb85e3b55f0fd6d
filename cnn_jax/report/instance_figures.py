"""Figures of the scores of single objects, from the tables of `evals.instances`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from numpy.typing import NDArray

from cnn_jax.data.source import Source, file_names
from cnn_jax.data.spec import named
from cnn_jax.evals import segments
from cnn_jax.evals.instances import void_of
from cnn_jax.report.figures import BLUE, GREY, ORANGE, new_figure, save, short, tidy
from cnn_jax.report.map_gallery import Line, draw_lines, drawn_size, faint
from cnn_jax.report.maps import VEIL, fitted, overlaid, tints_of_objects

Tables = Mapping[str, NDArray]

FOUND = 0.5  # IoU from which on the gallery calls an object found
RIGHT, MISSED, WRONG, VOID = 1, 2, 3, 4  # in the map of what is wrong
SHADES = {RIGHT: GREY, MISSED: BLUE, WRONG: ORANGE, VOID: "white"}


def precision_by_threshold(tables: Tables, path: Path) -> None:
    """Average precision at each IoU with its 95 % interval, precision and recall."""
    thresholds, average = tables["thresholds"], tables["average_precision"]
    figure = new_figure(7, 4.4)
    ax = figure.subplots()
    tidy(ax)
    if np.isfinite(average).any():
        low, high = tables["average_precision_low"], tables["average_precision_high"]
        ax.fill_between(thresholds, low, high, color=BLUE, alpha=0.2, linewidth=0)
        said = f"average precision, {average[0]:.3f} at IoU .5, with its 95 % interval"
        ax.plot(thresholds, average, "o-", color=BLUE, markersize=4.5, label=said)
        ax.plot(thresholds, tables["precision"], "--", color=ORANGE, linewidth=1.2, label="precision")
        ax.plot(thresholds, tables["recall"], ":", color=ORANGE, linewidth=1.6, label="recall")
        ax.legend(fontsize=9, frameon=False, loc="lower left")
    else:
        ax.text(0.5, 0.5, "no objects", transform=ax.transAxes, ha="center", color=GREY)
    ax.set(xlim=(thresholds[0] - 0.01, thresholds[-1] + 0.01), ylim=(0, 1.02))
    ax.set_xlabel("IoU from which on an object counts as found", fontsize=11)
    save(figure, path)


def gallery(source: Source, tables: Tables, path: Path) -> None:
    """The worst and the best images: each beside its true objects, the predicted ones, and what is wrong."""
    groups = {}
    for name in ("worst", "best"):
        places, scores = tables[name].T.tolist()
        shown = zip(map(int, places), scores, tables[f"{name}_maps"], strict=True)
        groups[f"the {name}: mean AP of the image"] = [_line(source, *one) for one in shown]
    words = {RIGHT: f"found (IoU {FOUND} or more)", MISSED: "missed", WRONG: "wrong", VOID: "does not count"}
    entries = [Patch(facecolor=SHADES[kind], edgecolor=GREY, label=word) for kind, word in words.items()]
    draw_lines(groups, entries, path)


def _line(source: Source, place: int, score: float, said: NDArray[np.int32]) -> Line:
    index = np.array([place])
    batch = source.batch(index)  # by itself: their shapes may differ
    picture = batch[named(source.spec.inputs, "image")][0]
    truth = batch[named(source.spec.targets, "instance_map")][0]
    said = said[: truth.shape[0], : truth.shape[1]]
    names, size, drawn, counts = file_names(source, index), drawn_size(truth.shape), [], []
    for values in (truth, said):
        shown, fit = fitted(picture, values, size)
        counts.append(len(np.unique(values[values > 0])))
        drawn.append(overlaid(shown, fit, tints_of_objects(int(values.max(initial=0)))))
    kinds = _kinds(truth, said, void_of(batch, source.spec)[0])
    shown, fit = fitted(picture, kinds, size)
    tints = np.zeros((1 + len(SHADES), 4), np.uint8)
    for kind, shade in SHADES.items():
        tints[kind] = (*(round(255 * part) for part in to_rgb(shade)), VEIL)
    name = short(Path(names[0]).name if names else f"#{place}", 22)
    titles = (name, f"{counts[0]} objects", f"predicted: {counts[1]}, AP {score:.3f}", "wrong and missed")
    return Line(titles, [shown, *drawn, overlaid(faint(shown), fit, tints, 0)])


def _kinds(truth: NDArray, said: NDArray, void: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """What each pixel [H, W] is of: RIGHT, of a pair of objects; MISSED; WRONG, which covers what is missed; or 0."""
    found = segments.overlaps(truth, said, void)
    pairs = segments.matches(found, FOUND)
    right = np.isin(truth, found.true_ids[found.true[pairs]]) | np.isin(said, found.said_ids[found.said[pairs]])
    wrong = np.isin(said, np.setdiff1d(found.said_ids[~found.dropped], found.said_ids[found.said[pairs]]))
    kinds = np.where(right, RIGHT, np.where(truth > 0, MISSED, 0))
    return np.where(void, VOID, np.where(wrong, WRONG, kinds)).astype(np.uint8)
