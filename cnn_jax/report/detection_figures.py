"""Figures of the scores of a detector, from the tables of `evals.detection`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals.average_precision import RANGES, RECALLS, THRESHOLDS
from cnn_jax.evals.tide import KINDS
from cnn_jax.report.confusion import confusion_matrix
from cnn_jax.report.figures import BLUE, CHANNELS, GREY, ORANGE, new_figure, save, short, tidy

Tables = Mapping[str, NDArray]

NAMED = 12  # curves of classes that have a name and a colour or style of their own
LISTED = 60  # classes in a column of names
MEANING = {
    "cls": "another class",
    "loc": "box too far off",
    "both": "class and box",
    "dupe": "found twice",
    "bkg": "nothing there",
    "miss": "not found",
}


def precision_recall(tables: Tables, classes: Sequence[str], path: Path) -> None:
    """Precision against recall of each class at IoU .5, and of the mean over classes at several IoUs."""
    precision = tables["precision"]  # [10, 101, K]
    known = np.flatnonzero(np.isfinite(precision[0, 0]))
    figure = new_figure(12, 5.4)
    left, right = figure.subplots(1, 2)
    order = known[np.argsort(-tables["ap50"][known], kind="stable")]
    # The best and the worst have names, where there are too many.
    named = order if len(order) <= NAMED else np.concatenate([order[: NAMED // 2], order[-NAMED // 2 :]])
    for label in order:
        if label not in named:
            left.plot(RECALLS, precision[0, :, label], color=GREY, linewidth=0.6, alpha=0.35)
    for place, label in enumerate(named):
        name = f"{short(classes[label], 18)}  {tables['ap50'][label]:.3f}"
        style = ("-", "--")[place // len(CHANNELS) % 2]
        colour = CHANNELS[place % len(CHANNELS)]
        left.plot(RECALLS, precision[0, :, label], style, color=colour, linewidth=1.4, label=name)
    few = "" if len(named) == len(order) else f" (named: {NAMED // 2} best, {NAMED // 2} worst of {len(order)})"
    left.set_title(f"by class at IoU .5{few}", fontsize=12)
    for level in range(0, len(THRESHOLDS), 2) if len(known) else ():
        mean = precision[level][:, known].mean(1)
        shade = 0.25 + 0.75 * (1 - level / len(THRESHOLDS))
        name = f"IoU {THRESHOLDS[level]:.2f}  {mean.mean():.3f}"
        right.plot(RECALLS, mean, color=BLUE, alpha=shade, linewidth=1.6, label=name)
    right.set_title("mean over classes", fontsize=12)
    for ax in (left, right):
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        ax.set_xlabel("recall", fontsize=11)
        ax.set_ylabel("precision", fontsize=11)
        tidy(ax)
        if len(known):
            ax.legend(fontsize=9, frameon=False, title="average precision", title_fontsize=9, loc="lower left")
        else:
            ax.text(0.5, 0.5, "no objects", transform=ax.transAxes, ha="center", color=GREY)
    save(figure, path)


def confusion_with_background(tables: Tables, classes: Sequence[str], path: Path) -> None:
    """Objects by class, and detections by class, from the threshold on; the last row and column are background."""
    matrix, threshold = tables["confusion"], float(tables["threshold"])
    right, objects, said = np.trace(matrix), matrix[:-1].sum(), matrix[:, :-1].sum()
    title = f"{right:,} of {objects:,} objects found and named\nby {said:,} detections of score {threshold:.2f} or more"
    confusion_matrix(matrix, [*classes, "(background)"], path, title)


def tide_bars(tables: Tables, path: Path) -> None:
    """What average precision at IoU .5 would gain without the errors of each kind, and how many there are."""
    figure = new_figure(7, 3.4)
    ax = figure.subplots()
    costs, counts, places = tables["tide"], tables["tide_counts"], np.arange(len(KINDS))
    ax.barh(places, np.nan_to_num(costs), color=[ORANGE] * (len(KINDS) - 1) + [GREY], height=0.62)
    for place, cost, count in zip(places, costs, counts, strict=True):
        said = "–" if np.isnan(cost) else f"{cost:.3f}"
        what = "objects" if KINDS[place] == "miss" else "boxes"
        beside = (np.nan_to_num(cost), place)
        ax.annotate(f"{said}  ({count:,} {what})", beside, (5, 0), textcoords="offset points", va="center")
    ax.set_yticks(places, [f"{kind}: {MEANING[kind]}" for kind in KINDS], fontsize=11)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.45 * max(np.nan_to_num(costs).max(), 0.02))
    ax.set_xlabel("average precision at IoU .5 that errors of this kind alone cost", fontsize=10)
    ax.set_title("why it is wrong (TIDE)", fontsize=12)
    tidy(ax)
    save(figure, path)


def precision_by_class(tables: Tables, classes: Sequence[str], path: Path) -> None:
    """Average precision of each class with its 95 % interval, and for each range of sizes."""
    precision, objects = tables["average_precision"], tables["objects"]  # [K, 4] each
    known = np.flatnonzero(np.isfinite(precision[:, 0]))
    order = known[np.argsort(precision[known, 0], kind="stable")][:LISTED]
    figure = new_figure(10, 1.6 + 0.3 * max(len(order), 4))
    axes = figure.subplots(1, len(RANGES), sharex=True, sharey=True, width_ratios=[2, 1, 1, 1])
    places, sizes = np.arange(len(order))[::-1], tables["sizes"]
    heads = [
        "all sizes", f"small (to {sizes[0]:g}²)", f"medium (to {sizes[1]:g}²)", "large"
    ]  # fmt: skip
    for way, (ax, head) in enumerate(zip(axes, heads, strict=True)):
        values = precision[order, way]
        low, high = (tables[f"average_precision_{end}"][order, way] for end in ("low", "high"))
        ax.hlines(places, low, high, color=BLUE, linewidth=2.2, alpha=0.45)
        ax.plot(values, places, "o", color=BLUE, markersize=4.5)
        ax.set_title(f"{head}\n{objects[:, way].sum():,} objects", fontsize=10)
        ax.set(xlim=(0, 1))
        tidy(ax)
        ax.grid(axis="y", visible=False)
    names = [f"{short(classes[label], 22)}  ({objects[label, 0]:,})" for label in order]
    axes[0].set_yticks(places, names, fontsize=9.5)
    figure.supxlabel("average precision, IoU .5 to .95, with 95 % intervals over images", fontsize=10)
    few = f", the {LISTED} lowest of {len(known)} classes" if len(order) < len(known) else ""
    figure.suptitle(f"by class and size{few}" if len(order) else "no objects", fontsize=12)
    save(figure, path)
