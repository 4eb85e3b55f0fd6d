"""The report of a tagger: how it learned, how well it ranks each class, and where it is surely wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.placement import Placement
from cnn_jax.data.source import Source, file_names
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores, digits
from cnn_jax.paths import printable
from cnn_jax.report import classify
from cnn_jax.report.classify import COLUMNS, ROWS, draw_gallery
from cnn_jax.report.figures import BLUE, GREY, ORANGE, learning_curves, new_figure, save, short, tidy

PANELS = {"loss": "loss", "map": "mean average precision", "label_accuracy": "labels that are right"}
TOP, LEAST = 10, 0.5  # tags that are named for an example, and from which probability on
LONGEST = classify.LONGEST
SHOWN = 40  # classes of the figure at most, the best and the worst


# A list of classes with their probabilities is worded and drawn as a classifier's.
rows, words, best, annotate = classify.rows, classify.words, classify.best, classify.annotate


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    """Writes learning_curves, classes and mistakes as PNG into `folder`."""
    learning_curves(rows, folder / "learning_curves.png", PANELS)
    precision_by_class(scores.tables, source.spec.classes, folder / "classes.png")
    mistakes_gallery(source, scores.tables["mistakes"], folder / "mistakes.png")


def lines(scores: Scores, spec: Spec) -> list[str]:
    """The scores of each class."""
    tables = scores.tables
    total = int(tables["counted"][0])
    found = [f"by class of {total:,} {spec.units}; average precision (AP), and that of guessing, its share:"]
    found.append(f"  {'':20} {'AP':>7} {'95 % interval':>16} {'AUC':>7} {'share':>7} {spec.units:>8}")
    columns = (tables[name].tolist() for name in ("ap", "ap_low", "ap_high", "auc", "positives"))
    for name, ap, low, high, auc, positives in zip(spec.classes, *columns, strict=True):
        interval = f"{low:.4f} to {high:.4f}" if np.isfinite(low) else ""
        cells = f"{digits(ap):>7} {interval:>16} {digits(auc):>7} {positives / total:7.2%} {positives:8,}"
        found.append(f"  {printable(name):20} {cells}")
    return found


class Tags(NamedTuple):
    """The classes of one example, the most probable first. names: [K]; probabilities: [K], each of its own."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float64]

    def __repr__(self) -> str:
        said = zip(self.names[:TOP], self.probabilities, strict=False)
        return f"Tags({', '.join(f'{printable(name)} {probability:.2%}' for name, probability in said)})"


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Tags:
    """The classes of one example by their probability."""
    probabilities = 1 / (1 + np.exp(-outputs["logits"].astype(np.float64)))
    order = np.argsort(-probabilities, kind="stable")
    return Tags(tuple(spec.classes[k] for k in order), probabilities[order])


def precision_by_class(tables: Mapping[str, NDArray[Any]], classes: Sequence[str], path: Path) -> None:
    """Average precision of each class with its interval, the best above, beside what guessing has."""
    known = np.flatnonzero(np.isfinite(tables["ap"]))
    order = known[np.argsort(-tables["ap"][known], kind="stable")]
    if len(order) > SHOWN:
        order = np.concatenate([order[: SHOWN // 2], order[-SHOWN // 2 :]])
    figure = new_figure(8, 1.2 + 0.25 * max(len(order), 1))
    ax = figure.subplots()
    places = np.arange(len(order))
    values = tables["ap"][order]
    around = np.abs(np.stack([values - tables["ap_low"][order], tables["ap_high"][order] - values]))
    ax.barh(places, values, color=BLUE, height=0.6, xerr=np.nan_to_num(around), error_kw={"linewidth": 1})
    share = tables["positives"][order] / tables["counted"][0]
    ax.plot(share, places, "|", color=ORANGE, markersize=10, label="guessing")
    ax.set_yticks(places, [short(classes[k], 28) for k in order])
    title = "average precision" if len(order) == len(known) else f"average precision, {SHOWN} of {len(known)} classes"
    ax.set(xlim=(0, 1), ylim=(len(order) - 0.5, -0.5), title=title)
    ax.legend(frameon=False, fontsize=9)
    tidy(ax)
    save(figure, path)


def mistakes_gallery(source: Source, mistakes: NDArray[np.float64], path: Path) -> None:
    """What was most surely said wrongly: the class and its probability above, the truth and the file below."""
    worst = mistakes[: COLUMNS * ROWS]
    places = worst[:, 1].astype(int)
    files = file_names(source, places) if len(worst) else None
    words = []
    for number, (probability, index, label, applies) in enumerate(worst):
        name = short(source.spec.classes[int(label)], 14)
        said = f"no {name} {probability:.0%}" if applies else f"{name} {probability:.0%}"
        words.append((said, f"#{index:.0f}" if files is None else short(Path(files[number]).name, 18)))
    title = f"the {len(worst)} surest mistakes" if len(worst) else "no mistakes"
    draw_gallery(source, places, words, title, path, colour=GREY)
