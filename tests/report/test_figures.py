"""The figures of numbers: files that exist, are pictures and hold what they should; edge cases do not break them."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.ticker import PercentFormatter

from cnn_jax.report import classify, confusion, figures


def inked(path: Path) -> float:
    """Share of the picture that is not white."""
    assert path.read_bytes().startswith(b"\x89PNG")
    return float((imread(path)[..., :3].min(axis=-1) < 0.9).mean())


def history(steps: int) -> list[dict]:
    rows: list[dict] = []
    for step in range(1, steps + 1):
        rows.append({"step": step, "split": "train", "epoch": step / 4, "loss": 1 / step, "top1": 1 - 1 / step})
        rows[-1]["learning_rate"] = 0.1
        if step % 4 == 0:
            rows.append({"step": step, "split": "validation", "loss": 2 / step, "top1": 0.5, "ece": 0.1})
    return rows


def test_learning_curves_hold_the_numbers(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.learning_curves(history(12), tmp_path / "new" / "curves.png", classify.PANELS)
    assert inked(tmp_path / "new" / "curves.png") > 0.01
    loss, accuracy, rate = drawn[0].axes
    assert [ax.get_ylabel() for ax in drawn[0].axes] == ["loss", "top-1 accuracy", "learning rate"]
    train, validation = loss.lines
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    np.testing.assert_allclose(train.get_ydata(), 1 / np.arange(1, 13))
    np.testing.assert_allclose(validation.get_xydata(), [[4, 0.5], [8, 0.25], [12, 1 / 6]])
    assert [line.get_label() for line in accuracy.lines] == ["train", "validation"]
    assert len(rate.lines) == 1
    epoch = loss.child_axes[0]
    assert epoch.get_xlabel() == "epoch"
    assert epoch.get_xlim()[1] == pytest.approx(loss.get_xlim()[1] / 4)


def test_values_that_are_not_finite_are_marked_and_not_averaged(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": step, "split": "train", "loss": 3.0} for step in range(1, 401)]
    rows[100]["loss"], rows[200]["loss"] = math.nan, math.inf
    figures.learning_curves(rows, tmp_path / "curves.png")
    (ax,) = drawn[0].axes
    _, mean, marks = ax.lines
    values = np.asarray(mean.get_ydata())
    assert np.flatnonzero(np.isnan(values)).tolist() == [100, 200]
    np.testing.assert_allclose(values[~np.isnan(values)], 3.0)  # the ends and the neighbours of the gap too
    assert list(marks.get_xdata()) == [101, 201]
    assert not ax.child_axes  # no epochs were logged


def test_by_default_every_metric_of_training_has_a_panel(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [
        {"step": s, "split": "train", "time": 1e9, "epoch": s / 9, "loss": 2 / s, "map": 0.1 * s, "box": 3.0 * s,
         "learning_rate": 0.1, "grad_norm": 1.0, "skipped": 0, "examples_per_second": 9.0}
        for s in range(1, 9)
    ]  # fmt: skip
    rows += [{"step": s, "split": "validation", "map": 0.2, "loss": 1.0, "other": 1.0} for s in (4, 8)]
    rows += [{"step": s, "split": split, "map": 0.05 * s} for split in ("sketches", "photos", "rain") for s in (4, 8)]
    figures.learning_curves(rows, tmp_path / "curves.png")
    assert [ax.get_ylabel() for ax in drawn[0].axes] == ["loss", "map", "box", "learning rate"]
    loss, shares, box, _ = drawn[0].axes
    assert [line.get_label() for line in shares.lines] == ["train", "validation", "sketches", "photos", "rain"]
    colours = {line.get_label(): line.get_color() for line in shares.lines}
    assert len(set(colours.values())) == 5
    rows = [row for row in rows if row["split"] != "validation" or row["step"] == 4]
    rows += [{"step": 8, "split": "rain", "loss": 1.5}]
    figures.learning_curves(rows, tmp_path / "again.png")
    for ax in drawn[1].axes:  # a split has one colour in all panels
        assert all(colours[line.get_label()] == line.get_color() for line in ax.lines)
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    np.testing.assert_allclose(shares.lines[2].get_xydata(), [[4, 0.2], [8, 0.4]])
    assert [line.get_label() for line in box.lines] == ["train"]


def test_only_shares_are_in_percent(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [
        {"step": s, "split": "train", "loss": 0.5, "top1": 0.5, "miou": math.nan if s == 2 else 1.0, "error": 1.5 / s}
        for s in range(1, 4)
    ]
    rows += [{"step": 3, "split": "validation", "loss": 0.4, "top1": 0.4, "miou": 0.0, "error": 0.2}]
    figures.learning_curves(rows, tmp_path / "curves.png")
    percent = {ax.get_ylabel(): isinstance(ax.yaxis.get_major_formatter(), PercentFormatter) for ax in drawn[0].axes}
    assert percent == {"loss": False, "top1": True, "miou": True, "error": False}


def test_panels_have_titles_and_only_those_with_numbers_are_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.learning_curves(history(8), tmp_path / "curves.png", {"top1": "accuracy", "none": "nothing", "ece": "ECE"})
    assert [ax.get_ylabel() for ax in drawn[0].axes] == ["accuracy", "ECE", "learning rate"]
    assert [line.get_label() for line in drawn[0].axes[1].lines] == ["validation"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        history(1),
        [{"step": 0, "split": "train", "loss": 1.0, "epoch": 0.0}],
        [{"step": 5, "split": "train", "loss": math.nan}] * 3,
        [{"step": 5, "split": "test", "top1": 0.5}],
    ],
)
def test_learning_curves_of_almost_nothing(tmp_path: Path, rows: list[dict]) -> None:
    figures.learning_curves(rows, tmp_path / "curves.png")
    assert inked(tmp_path / "curves.png") > 0.001


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_matrix(tmp_path: Path, drawn: list[Figure], classes: int) -> None:
    matrix = np.diag(np.full(classes, 3))
    matrix[0, 1] = 1
    names = [f"${k}$ class" for k in range(classes)]
    confusion.confusion_matrix(matrix, names, tmp_path / "confusion.png")
    assert inked(tmp_path / "confusion.png") > 0.003
    ax = drawn[0].axes[0]
    assert ax.get_title().startswith(f"{3 * classes} of {3 * classes + 1} correct")
    texts = [text.get_text() for axis in drawn[0].axes for text in axis.texts]
    if classes <= 20:
        assert texts[:2] == ["75.0%\n3", "25.0%\n1"]  # row percent over count
        assert len(texts) == classes + 1  # no text in empty cells
    else:
        assert texts[0].splitlines()[3:] == [r"\$0\$ class → \$1\$ class: 1 (25%)"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [rf"\${k}\$ class" for k in range(classes)]


def test_confusion_matrix_without_examples_or_mistakes(tmp_path: Path) -> None:
    confusion.confusion_matrix(np.zeros((3, 3), int), "abc", tmp_path / "empty.png")
    confusion.confusion_matrix(np.eye(130, dtype=int), [str(k) for k in range(130)], tmp_path / "perfect.png")
    assert inked(tmp_path / "empty.png") > 0.001
    with pytest.raises(ValueError, match=r"3 classes must be \[3, 3\], got \(2, 2\)"):
        confusion.confusion_matrix(np.eye(2, dtype=int), "abc", tmp_path / "wrong.png")


def test_reliability_diagram_states_the_ece(tmp_path: Path, drawn: list[Figure]) -> None:
    classify.reliability_diagram(bins({7: (10, 0.6, 0.5), 13: (30, 0.6, 0.9)}), tmp_path / "reliability.png")
    assert inked(tmp_path / "reliability.png") > 0.01
    ax, below = drawn[0].axes
    assert ax.get_title() == "expected calibration error 25.00%"
    accuracy, gap = ax.patches[:2], ax.patches[2:]
    assert [bar.get_x() for bar in accuracy] == pytest.approx([7 / 15, 13 / 15])
    assert [bar.get_height() for bar in accuracy] == [0.6, 0.6]
    assert [bar.get_y() + bar.get_height() for bar in gap] == pytest.approx([0.5, 0.9])
    assert [bar.get_height() for bar in below.patches] == [10, 30]
    assert [bar.get_width() for bar in [*ax.patches, *below.patches]] == pytest.approx([1 / 15] * 6)
    classify.reliability_diagram(bins({14: (1, 0.0, 1.0)}), tmp_path / "one.png")
    assert drawn[1].axes[0].get_title() == "expected calibration error 100.00%"


def bins(filled: dict[int, tuple[int, float, float]]) -> np.ndarray:
    """[3, 15] support, accuracy and confidence, NaN in empty bins."""
    table = np.full((3, 15), np.nan)
    table[0] = 0
    for place, column in filled.items():
        table[:, place] = column
    return table


def test_other_formats(tmp_path: Path) -> None:
    figures.learning_curves(history(3), tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text()
