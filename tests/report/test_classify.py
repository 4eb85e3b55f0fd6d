"""The report of a classifier, and how a task's report is found."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cnn_jax import report
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import INDEX, Field, Spec
from cnn_jax.evals import classification
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report import classify

CLASSES = ("cat", "d\x1bog\n", "eel", "none of these")
ROWS = [
    {"step": step, "split": split, "loss": 2 / step, "top1": 1 - 1 / step}
    for step in range(1, 9)
    for split in ("train", "validation", "sketches")[: 1 + 2 * (step % 4 == 0)]
]


def source_of(shape: tuple[int, ...]) -> ArraySource:
    role = "image" if len(shape) == 3 else "signal"
    inputs = np.random.default_rng(0).random((60, *shape)).astype(np.float32)
    labels = np.random.default_rng(1).integers(-1, 3, 60).astype(np.int32)
    spec = Spec(
        name="x",
        classes=CLASSES,
        inputs={"x": Field(role, shape, "float32")},
        targets={"label": Field("label", (), "int32")},
        prepare=ImagePrepare(),
        licence="",
        citation="",
        fingerprint="",
    )
    return ArraySource({"x": inputs, "label": labels}, spec)


def scored(source: ArraySource) -> Scores:
    evaluator = classification.evaluator(CLASSES)
    logits = np.random.default_rng(2).normal(size=(60, 4))
    logits[np.arange(60), source.arrays["label"]] += 1.5
    batch = {"label": source.arrays["label"], INDEX: np.arange(60)}
    return evaluator.finish(evaluator.add(evaluator.start(), {"logits": logits}, batch))


@pytest.mark.parametrize("shape", [(8, 6, 3), (40, 1)])
@pytest.mark.parametrize("dense", [True, False])
def test_figures(tmp_path: Path, drawn: list[Figure], monkeypatch, shape: tuple[int, ...], dense: bool) -> None:
    monkeypatch.setattr(classification, "DENSE", 4 if dense else 3)
    source = source_of(shape)
    scores = scored(source)
    classify.figures(tmp_path / "new", ROWS, scores, source)
    names = {"learning_curves.png", "reliability.png", "mistakes.png", "mistakes.csv"} | (
        {"confusion_matrix.png"} if dense else set()
    )
    assert {path.name for path in (tmp_path / "new").iterdir()} == names
    curves = drawn[0].axes
    assert [ax.get_ylabel() for ax in curves] == ["loss", "top-1 accuracy"]
    assert [line.get_label() for line in curves[0].lines] == ["train", "validation", "sketches"]
    known = int((source.arrays["label"] >= 0).sum())  # what has no label is no mistake
    wrong = round((1 - scores.numbers["top1"].value) * known)
    units = "images" if len(shape) == 3 else "signals"
    assert known < 60 and drawn[-1].get_suptitle().startswith(f"{wrong} mistakes in {known} {units}")
    ece = f"expected calibration error {scores.numbers['ece'].value:.2%}"
    assert drawn[-2].axes[0].get_title() == ece


def test_lines_name_each_class_on_a_line_of_its_own() -> None:
    source = source_of((8, 6, 3))
    found = classify.lines(scored(source), source.spec)
    counts = np.bincount(source.arrays["label"][source.arrays["label"] >= 0], minlength=4)
    assert found[0] == "accuracy by class:" and len(found) == 5
    assert found[4].split() == ["none", "of", "these", "no", "examples"]
    assert all("\n" not in line and "\x1b" not in line for line in found)
    assert [int(line.split(" of ")[1]) for line in found[1:4]] == counts[:3].tolist()


def test_results_are_the_classes_by_their_probability() -> None:
    outputs = {"logits": np.log([0.1, 0.2, 0.65, 0.05])}
    found = classify.result(outputs, source_of((8, 6, 3)).spec, None)
    assert found.names == tuple(CLASSES[k] for k in (2, 1, 0, 3)) and found.name == "eel"
    assert found.probability == pytest.approx(0.65)
    np.testing.assert_allclose(found.probabilities, [0.65, 0.2, 0.1, 0.05])
    assert repr(found) == "Ranking(eel 65.00%, d\ufffdog\ufffd 20.00%, cat 10.00%, none of these 5.00%)"
    rows = classify.rows(found)
    assert [row["class"] for row in rows] == list(found.names) and rows[0]["probability"] == pytest.approx(0.65)
    lines = [classify.words(row) for row in rows]
    assert [line.split()[0] for line in lines] == ["65.00%", "20.00%", "10.00%", "5.00%"]
    assert lines[0].endswith("  eel") and lines[1].endswith("d\ufffdog\ufffd")


@pytest.mark.parametrize("shape", [(8, 6, 3), (8, 6, 1), (40, 1)])
def test_annotate(tmp_path: Path, drawn: list[Figure], shape: tuple[int, ...]) -> None:
    source = source_of(shape)
    found = classify.result({"logits": np.log([0.1, 0.2, 0.65, 0.05])}, source.spec, None)
    classify.annotate(source.arrays["x"][3], shape, found, tmp_path / "a" / "one.png")
    picture, bars = drawn[0].axes
    assert (tmp_path / "a" / "one.png").exists() and (picture.images or picture.lines)
    assert [text.get_text() for text in bars.texts[::2]][0] == "eel"
    assert [text.get_text() for text in bars.texts[1::2]] == ["65.0%", "20.0%", "10.0%", "5.0%"]


def test_a_photo_is_drawn_pixel_by_pixel(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (700, 500, 3), np.uint8)
    classify.draw_ranking(photo, [0.6, 0.4], ["cat", "dog"], tmp_path / "drawn.png")
    whole = np.asarray(Image.open(tmp_path / "drawn.png").convert("RGB")).astype(int)
    inner = photo[20:-20, 20:-20].astype(int)
    places = [(top, left) for top in range(30, 45) for left in range(30, 45)]
    away = [np.abs(whole[top:, left:][:660, :460] - inner).mean() for top, left in places]
    assert min(away) < 1


def test_a_report_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert report.of("classify") is classify and report.of("cnn_jax.report.classify") is classify
    (tmp_path / "package_of_reports").mkdir()
    (tmp_path / "package_of_reports" / "mine.py").write_text("def lines(scores, spec):\n    return ['mine']\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert report.of("package_of_reports.mine").lines(None, None) == ["mine"]
    with pytest.raises(ValueError, match="cnn_jax.report.no_such. cannot be imported"):
        report.of("no_such")
    for name in ("figures", "lines", "result", "rows", "words", "best", "annotate"):
        assert callable(getattr(report.of("classify"), name))
