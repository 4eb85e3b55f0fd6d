"""The pictures and lines of the scores of a detector."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn_jax.data.placement import Placement, as_vector
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import INDEX
from cnn_jax.evals import detection
from cnn_jax.evals.evaluator import Scores
from cnn_jax.evals.tide import KINDS
from cnn_jax.report import detect, detection_figures, detection_gallery
from tests.evals import detection_sets as sets

FILES = {"learning_curves", "precision_recall", "confusion_matrix", "errors", "classes", "gallery"}
ROWS = [
    {
        "step": step,
        "split": split,
        "loss": 2 / step,
        **({"boxes": 0.5} if split == "train" else {"ap": 0.1, "ap50": 0.2}),
    }
    for step in range(1, 5)
    for split in ("train", "validation")
]


def scored(nothing: bool = False, placed: bool = False) -> tuple[ArraySource, Scores]:
    outputs, batch = sets.drawn(3, images=30)
    if nothing:
        outputs["labels"][:], batch["what"][:] = -1, -1
    spec, count = sets.spec(9, 5, placement=placed), len(batch["what"])
    arrays = {name: array for name, array in batch.items() if name != INDEX}
    arrays["picture"] = np.full((count, sets.SIZE, sets.SIZE, 3), 128, np.uint8)
    if placed:  # the example is half as large as the original
        lies = as_vector(Placement((2 * sets.SIZE, 2 * sets.SIZE), (sets.SIZE, sets.SIZE), (0.5, 0.5), (0.0, 0.0)))
        arrays["lies"] = batch["lies"] = np.tile(lies, (count, 1))
    evaluator = detection.evaluator(spec, sizes=(20, 50))
    return ArraySource(arrays, spec), evaluator.finish(evaluator.add((), outputs, batch))


def test_figures_say_what_the_tables_say(tmp_path: Path, drawn: list[Figure]) -> None:
    source, scores = scored()
    detect.figures(tmp_path / "new", ROWS, scores, source)
    assert {path.stem for path in (tmp_path / "new").iterdir()} == FILES
    curves, recall, confusion, errors, classes, gallery = drawn
    assert [ax.get_ylabel() for ax in curves.axes] == ["loss", "loss: boxes", *detect.PANELS.values()]
    assert not curves.axes[1].yaxis.get_major_formatter()(0.5).endswith("%")
    tables, numbers = scores.tables, scores.numbers
    named = [line.get_label() for line in recall.axes[0].lines]
    assert len(named) == np.isfinite(tables["ap50"]).sum() and named[0].endswith(f"{np.nanmax(tables['ap50']):.3f}")
    assert recall.axes[1].lines[0].get_label() == f"IoU 0.50  {numbers['ap50'].value:.3f}"
    assert f"of {tables['confusion'][:-1].sum()} objects" in confusion.axes[0].get_title()
    assert confusion.axes[0].get_yticklabels()[-1].get_text() == "(background)"
    said = [text.get_text() for text in errors.axes[0].texts]
    assert said[0] == f"{tables['tide'][0]:.3f}  ({tables['tide_counts'][0]} boxes)" and len(said) == len(KINDS)
    heads = [ax.get_title().splitlines() for ax in classes.axes]
    assert heads[1] == ["small (to 20²)", f"{tables['objects'][:, 1].sum()} objects"]
    assert f"score of {tables['threshold']:.2f} or more" in gallery.get_suptitle()
    words = detect.lines(scores, source.spec)
    assert "up to 20 x 20" in words[0] and len(words) == 7 and "–" in words[-2]
    assert f"{tables['average_precision'][0, 0]:.4f}" in words[2]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_gallery, "COLUMNS", 2)


def test_the_gallery_shows_the_errors_where_they_are(tmp_path: Path, drawn: list[Figure]) -> None:
    source, scores = scored(placed=True)
    detection_gallery.gallery(source, scores.tables, tmp_path / "gallery.png")
    pairs = [drawn[0].axes[k : k + 2] for k in range(0, len(drawn[0].axes), 2)]
    errors = scores.tables["errors"]
    shown = [[e for e in errors if e[0] == kind][: detection_gallery.COLUMNS] for kind in range(len(KINDS))]
    expected = [None] * min(len(scores.tables["best"]), detection_gallery.COLUMNS) + [e for kind in shown for e in kind]
    assert len(pairs) == len(expected) and len({e[0] for e in expected if e is not None}) >= 5
    orange = (0xD5 / 255, 0x5E / 255, 0)
    for (left, right), error in zip(pairs, expected, strict=True):
        marked = [[p for p in ax.patches if p.get_edgecolor()[:3] == pytest.approx(orange)] for ax in (left, right)]
        boxes = [None, None] if error is None else [error[9:], error[4:8]]
        for patches, box in zip(marked, boxes, strict=True):
            if box is None or np.isnan(box).any():
                assert not patches
                continue
            x0, y0, x1, y1 = box / 2
            corners = [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in patches]
            assert any(corner == pytest.approx((x0, y0, x1, y1), abs=0.5) for corner in corners)


def test_nothing_to_see(tmp_path: Path) -> None:
    source, scores = scored(nothing=True)
    detect.figures(tmp_path, ROWS, scores, source)
    assert {path.stem for path in tmp_path.iterdir()} == FILES
    assert all(line.count("–") == 5 for line in detect.lines(scores, source.spec)[2:])


def test_of_many_classes_the_best_and_the_worst_are_named(tmp_path: Path, drawn: list[Figure]) -> None:
    precision = np.sort(np.random.default_rng(0).random((10, 101, 80)), axis=1)[:, ::-1]
    tables = {"precision": precision, "ap50": precision[0].mean(0)}
    detection_figures.precision_recall(tables, [f"class {k}" for k in range(80)], tmp_path / "curves.png")
    ax = drawn[0].axes[0]
    assert len(ax.lines) == 80 and len(ax.get_legend().get_texts()) == detection_figures.NAMED
    assert "of 80" in ax.get_title()
