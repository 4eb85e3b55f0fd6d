"""The report of a classifier: how it learned, what it confuses, how sure it is, where it is confidently wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from cnn_jax.data.placement import Placement
from cnn_jax.data.source import Source, file_names
from cnn_jax.data.spec import Spec
from cnn_jax.evals.evaluator import Scores
from cnn_jax.paths import printable
from cnn_jax.report.confusion import confusion_matrix
from cnn_jax.report.figures import (
    BLUE,
    DPI,
    GREY,
    ORANGE,
    draw_example,
    learning_curves,
    new_figure,
    save,
    short,
    shown,
    tidy,
)
from cnn_jax.report.sound import Spectrum
from cnn_jax.report.tables import csv_table

PANELS = {"loss": "loss", "top1": "top-1 accuracy"}
TOP, LEAST = 5, 0.0  # classes that are named for an example, and from which probability on
LONGEST = 1600
SIDE = 480  # pixels of the height of a drawn example, of which 130 are an inch
COLUMNS, ROWS = 8, 3  # of the gallery of mistakes


def figures(folder: Path, rows: Sequence[Mapping[str, Any]], scores: Scores, source: Source) -> None:
    """Writes learning_curves, confusion_matrix, reliability and mistakes as PNG into `folder`, made if need be.

    mistakes.csv has the most confident mistakes with their files.
    """
    tables, classes = scores.tables, source.spec.classes
    learning_curves(rows, folder / "learning_curves.png", PANELS)
    if "confusion" in tables:
        confusion_matrix(tables["confusion"], classes, folder / "confusion_matrix.png")
    reliability_diagram(tables["reliability"], folder / "reliability.png")
    total = int(tables["support"].sum())  # of a known class, and decoded
    wrong = total - _right(tables)
    mistakes_gallery(source, tables["mistakes"], folder / "mistakes.png", wrong=wrong, total=total)
    mistakes_table(source, tables["mistakes"], folder / "mistakes.csv")


def _right(tables: Mapping[str, np.ndarray]) -> int:
    """How many examples were given the class that they are of."""
    if "confusion" in tables:
        return int(np.trace(tables["confusion"]))
    true, predicted, count = tables["confusions"].T
    return int(count[true == predicted].sum())


def lines(scores: Scores, spec: Spec) -> list[str]:
    """The accuracy of each class."""
    found = ["accuracy by class:"]
    recalls, supports = scores.tables["recall"], scores.tables["support"]
    for label, recall, support in zip(spec.classes, recalls, supports, strict=True):
        found.append(f"  {printable(label):20} {f'{recall:.4f} of {support}' if support else 'no examples'}")
    return found


class Ranking(NamedTuple):
    """The classes of one example, the most probable first. names: [K]; probabilities: [K] float64, of sum 1."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float64]

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.names[0]

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return float(self.probabilities[0])

    def __repr__(self) -> str:
        best = zip(self.names[:TOP], self.probabilities, strict=False)
        said = ", ".join(f"{printable(name)} {probability:.2%}" for name, probability in best)
        return f"Ranking({said}{', ...' if len(self.names) > TOP else ''})"


def result(outputs: Mapping[str, np.ndarray], spec: Spec, placement: Placement | None) -> Ranking:
    """The classes of one example by their probability."""
    probabilities = _probabilities(outputs["logits"])
    order = np.argsort(-probabilities, kind="stable")
    return Ranking(tuple(spec.classes[k] for k in order), probabilities[order])


def rows(result: Ranking) -> list[dict[str, Any]]:
    """A row for each class."""
    pairs = zip(result.names, result.probabilities.tolist(), strict=True)
    return [{"class": name, "probability": probability} for name, probability in pairs]


def words(row: Mapping[str, Any]) -> str:
    """A class with its probability."""
    return f"{row['probability']:7.2%}  {printable(row['class'])}"


def best(result: Ranking, top: int | None, least: float) -> Ranking:
    """The first classes, of those with a probability of `least` or more."""
    count = int((result.probabilities >= least).sum())
    chosen = slice(count if top is None else min(top, count))
    return result._replace(names=result.names[chosen], probabilities=result.probabilities[chosen])


def annotate(picture: np.ndarray | Spectrum, size: tuple[int, ...], result: Ranking, path: Path) -> None:
    """Draws one example beside its most probable classes."""
    draw_ranking(picture, result.probabilities, result.names, path)


def mistakes_gallery(
    source: Source, mistakes: NDArray[np.float64], path: str | Path, *, wrong: int, total: int
) -> None:
    """The most confident mistakes, with what was predicted, how confidently, the truth, and the file or the position.

    mistakes: [M, 4] rows of confidence, index in `source`, true and predicted class, the most confident first; only
    those examples are read. wrong, total: how many mistakes there are in how many examples that were scored.
    """
    worst = mistakes[: COLUMNS * ROWS]
    classes = source.spec.classes
    title = f"{wrong:,} mistakes in {total:,} {source.spec.units}"
    if len(worst) < wrong:
        title += f", the {len(worst)} most confident"
    chosen = worst[:, 1].astype(int)
    texts = source.spec.input.role == "tokens"  # which are their own names
    files = file_names(source, chosen) if len(worst) and not texts else None
    if len(worst):
        title += f"\nabove: predicted, below: the truth and the {'file' if files else 'position in the set'}"
    places = [f"#{index:.0f}" for index in worst[:, 1]] if files is None else [_end(file, 18) for file in files]
    line = "  " if files is None else "\n"
    words = [
        (f"{short(classes[int(predicted)], 16)} {confidence:.0%}", f"{short(classes[int(true)], 16)}{line}{place}")
        for (confidence, _, true, predicted), place in zip(worst, places, strict=True)
    ]
    draw_gallery(source, chosen, words, title, path, colour=BLUE)


def draw_gallery(
    source: Source,
    chosen: NDArray[np.int64],
    words: Sequence[tuple[str, str]],
    title: str,
    path: str | Path,
    *,
    colour: str,
) -> None:
    """Some examples of a source in rows of COLUMNS, with what is said above and below each, that in `colour`.

    chosen: their places in the source, none of which is read twice.
    """
    count = max(1, -(-len(chosen) // COLUMNS))
    figure = new_figure(12, 0.9 + 2.1 * count if len(chosen) else 1)
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(count, COLUMNS, squeeze=False).ravel()
    for ax in axes[len(chosen) :]:
        ax.axis("off")
    examples = source.batch(chosen)[next(iter(source.spec.inputs))] if len(chosen) else ()
    for place, (ax, example, (above, below)) in enumerate(zip(axes, examples, words, strict=False)):
        draw_example(ax, picture := shown(example, source.spec))
        if isinstance(picture, Spectrum) and place % COLUMNS:
            ax.set_yticklabels([])  # which are those of the first of the row
        ax.set_title(above, fontsize=9.5, color=ORANGE)
        ax.set_xlabel(below, fontsize=9.5, color=colour)
    save(figure, path)


def mistakes_table(source: Source, mistakes: NDArray[np.float64], path: Path) -> None:
    """The same as CSV: file, text or position, the true class, the predicted one and its probability."""
    places, classes = mistakes[:, 1].astype(int), source.spec.classes
    names = file_names(source, places) if len(places) else None
    called = "text" if source.spec.input.role == "tokens" else "file"
    with csv_table(path, ranked=False) as write:
        for number, (confidence, _, true, predicted) in enumerate(mistakes):
            place = {"index": int(places[number])} if names is None else {called: names[number]}
            row = {"true": classes[int(true)], "predicted": classes[int(predicted)], "probability": float(confidence)}
            write(place, [row])


def _end(file: str, length: int) -> str:
    """The end of a path, which tells more than its beginning."""
    return short(file if len(file) <= length else f"…{file[1 - length :]}", length)


def draw_ranking(
    image: NDArray[Any] | Spectrum, probabilities: ArrayLike, classes: Sequence[str], path: str | Path
) -> None:
    """An image [H, W, C] (uint8, or floats in 0..1), a signal [L, C] or a spectrum beside its most probable classes.

    An image is drawn pixel by pixel, one that is smaller than half of SIDE with several for each of its own.
    probabilities [K] are in 0..1, one per name in `classes`.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    if not isinstance(image, Spectrum) and image.ndim == 3:
        times = max(1, min(SIDE // image.shape[0], 3 * SIDE // 2 // image.shape[1]))
        tall, wide, beside = times * image.shape[0], times * image.shape[1], 0
    else:
        tall, wide, beside = SIDE, 3 * SIDE // 2, SIDE // 7  # which the numbers at its left take
    height = max(tall, SIDE)
    scale = min(height / SIDE, 2.5)  # of what is written, which is to be read where the whole is shown on a screen
    margin, text = round(12 * scale), round(520 * scale)  # whole numbers: nothing falls between two pixels
    whole = (wide + text + 3 * margin, height + 2 * margin)  # pixels
    figure = Figure(figsize=(whole[0] / DPI, whole[1] / DPI))

    def axes(left: int, width: int, tall: int) -> Axes:
        bottom = (whole[1] - tall) // 2
        return figure.add_axes((left / whole[0], bottom / whole[1], width / whole[0], tall / whole[1]))

    ax = axes(margin + beside, wide - beside * 4 // 3, tall - 2 * beside)
    draw_example(ax, image)
    ax.tick_params(labelsize=9)
    ax = axes(wide + 2 * margin, text, round(SIDE * scale))
    lines = np.arange(len(best))
    ax.barh(lines, probabilities[best], height=0.5, color=[BLUE] + [GREY] * (len(best) - 1))
    for line, k in zip(lines, best, strict=True):
        ax.text(0, line - 0.32, short(classes[k], 28), fontsize=11 * scale, va="bottom")
        ax.text(1, line - 0.32, f"{probabilities[k]:.1%}", fontsize=11 * scale, va="bottom", ha="right")
    ax.set(xlim=(0, 1), ylim=(4.5, -0.8))
    ax.axis("off")
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
    figure.legend(*ax.get_legend_handles_labels(), fontsize=10, frameon=False, loc="outside lower center", ncols=3)
    below.bar(left, support, width, align="edge", color=GREY, edgecolor="white")
    below.set_xlabel("confidence", fontsize=11)
    below.set_ylabel("examples", fontsize=11)
    below.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    for axis in (ax, below):
        tidy(axis)
    save(figure, path)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits [K], in float64; SciPy's takes as long to import as all the rest of a prediction."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()
