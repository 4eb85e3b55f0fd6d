"""What is said and drawn of segmentations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from cnn_jax.data.placement import Placement
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import IGNORED, INDEX, Field, Spec
from cnn_jax.evals import segmentation
from cnn_jax.evals.evaluator import Scores
from cnn_jax.report import confusion, maps, segment
from cnn_jax.report.colours import palette
from cnn_jax.report.maps import legend_picture

SIZE = (12, 16)
SPEC = Spec(
    name="pictures",
    classes=("background", "cat", "a dog whose name is long", "never"),
    inputs={"image": Field("image", (*SIZE, 3), "uint8")},
    targets={"class_map": Field("class_map", SIZE, "uint8")},
    prepare=ImagePrepare(size=SIZE, resize="crop"),
    licence="",
    citation="",
    fingerprint="",
)
MAP = np.zeros(SIZE, np.uint8)
MAP[2:6, 3:9], MAP[8:11, 10:15] = 1, 2


def test_a_result_is_of_the_pixels_of_the_picture():
    placed = Placement((12, 20), SIZE, (1.0, 1.0), (0.0, -2.0))  # two columns at each side are cut off
    found = segment.result({"class_map": MAP}, SPEC, placed)
    assert found.class_map.shape == (12, 20) and (found.class_map[:, :2] == IGNORED).all()
    np.testing.assert_array_equal(found.class_map[:, 2:18], MAP)
    assert found.names == ("background", "cat", "a dog whose name is long", "(not seen)")
    assert found.labels.tolist() == [0, 1, 2, IGNORED] and found.pixels.tolist() == [153, 24, 15, 48]
    assert found.shares.sum() == pytest.approx(1) and found.mask("cat").sum() == 24 and not found.mask("never").any()
    assert repr(found).startswith("Segmented(12 x 20 pixels: background 63.7%, cat 10.0%, a dog")
    rows = segment.rows(found)
    assert json.loads(json.dumps(rows))[1] == {"class": "cat", "label": 1, "pixels": 24, "share": 0.1}
    assert segment.words(rows[1]) == " 10.00%  cat  24 pixels"


def test_so_many_classes_are_shown_from_so_large_a_share_on():
    found = segment.result({"class_map": MAP}, SPEC, None)
    assert segment.best(found, segment.TOP, segment.LEAST).names == found.names
    assert segment.best(found, 1, 0).names == ("background",)
    some = segment.best(found, None, 0.1)
    assert some.names == ("background", "cat") and some.class_map is found.class_map


@pytest.mark.parametrize(("size", "times"), [((12, 16), 30), ((96, 600), 1)])
def test_a_picture_is_drawn_pixel_by_pixel_under_its_map(size, times, tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    found = segment.result({"class_map": MAP}, SPEC, Placement(size, SIZE, (12 / size[0], 16 / size[1])))
    entries = list[Patch]()

    def legend(handles: list[Patch], rows: int, points: float) -> np.ndarray:
        entries.extend(handles)
        return legend_picture(handles, rows, points)

    monkeypatch.setattr(maps, "legend_picture", legend)
    segment.annotate(picture, size, segment.best(found, 2, 0), tmp_path / "a" / "b.png")
    assert [entry.get_label().split(None, 1) for entry in entries] == [["79.7%", "background"], ["12.5%", "cat"]]
    drawn = np.asarray(Image.open(tmp_path / "a" / "b.png"))
    wide = times * size[1]
    own = drawn[maps.MARGIN :][: times * size[0], maps.MARGIN :][:, :wide].astype(int)
    plain, values = (one.repeat(times, 0).repeat(times, 1) for one in (picture.astype(int), found.class_map))
    np.testing.assert_array_equal(own[values != 1], plain[values != 1])  # also of what was left out
    colour = palette()[1].astype(int)
    inside, outline = own[values == 1], (own[values == 1] == colour).all(-1)
    assert 0.02 < outline.mean() < 0.5
    tinted = plain[values == 1] + (colour - plain[values == 1]) * 115 / 255
    assert np.abs(inside - tinted)[~outline].max() <= 1
    beside = drawn[:, maps.MARGIN + wide + 1 :]
    assert (beside == 255).all(-1).mean() > 0.5 and (beside.max(-1) < 100).sum() > 200  # names, on white


def test_masks_hold_the_numbers_of_the_classes_and_the_colours(tmp_path):
    found = segment.result({"class_map": MAP}, SPEC, Placement((12, 20), SIZE, (1.0, 1.0), (0.0, -2.0)))
    assert segment.files(found, tmp_path / "a.jpg.predicted.png") == {"mask": tmp_path / "a.jpg.predicted.mask.png"}
    with Image.open(tmp_path / "a.jpg.predicted.mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), found.class_map)
        colours = np.asarray(mask.convert("RGB"))
    assert colours[3, 6].tolist() == palette()[1].tolist() and colours[0, 0].tolist() == [255] * 3
    assert colours[0, 5].tolist() == [0] * 3


def scored(classes: tuple[str, ...] = SPEC.classes, images: int = 6) -> tuple[ArraySource, Scores]:
    """The dog is found in half of the images, and the first row does not count."""
    spec = replace(SPEC, classes=classes)
    truth = np.stack([np.minimum(np.roll(MAP, n, 1), len(classes) - 1) for n in range(images)])
    said = truth.copy()
    said[: images // 2][truth[: images // 2] == 2] = 0
    said[:, 11] = min(1, len(classes) - 1)
    truth[:, 0] = IGNORED
    pictures = np.full((images, *SIZE, 3), 100, np.uint8)
    source = ArraySource({"image": pictures, "class_map": truth}, spec, [f"in/{n}.png" for n in range(images)])
    evaluator = segmentation.evaluator(spec)
    batch = {"class_map": truth, INDEX: np.arange(images)}
    return source, evaluator.finish(evaluator.add(evaluator.start(), {"class_map": said}, batch))


def test_figures_say_what_the_tables_say(tmp_path: Path, drawn: list[Figure]) -> None:
    source, scores = scored()
    rows = [{"step": 1, "split": "train", "loss": 1.0, "cross_entropy": 1.0, "pixel_accuracy": 0.5}]
    segment.figures(tmp_path / "new", rows, scores, source)
    files = {"learning_curves", "classes", "confusion_matrix", "gallery"}
    assert {path.stem for path in (tmp_path / "new").iterdir()} == files
    curves, classes, confused, gallery = drawn
    assert [ax.get_ylabel() for ax in curves.axes] == ["loss", "loss: cross_entropy", "pixel accuracy"]
    names = [label.get_text() for label in classes.axes[0].get_yticklabels()]
    assert names[0].startswith("a dog whose name is long  (8.5%)") and len(names) == 3
    points = classes.axes[0].lines[0].get_xdata()
    np.testing.assert_allclose(points, np.sort(scores.tables["iou"][:3]))
    assert classes.axes[0].get_title() == "by class, without 1 that do not occur"
    assert "of 1,056 pixels are right" in confused.axes[0].get_title()
    titles = [ax.get_title() for ax in gallery.axes]
    place, score = scores.tables["worst"][0]
    assert titles[:3] == [f"{place:.0f}.png", "truth", f"predicted: IoU {score:.3f}"] and len(titles) == 32
    assert titles[16] in ("3.png", "4.png", "5.png")  # the best: the dog was found
    picture, truth, said, wrong = (np.asarray(ax.images[0].get_array()) for ax in gallery.axes[:4])
    assert (picture == 100).all() and (truth[:5] > 150).all()  # does not count
    unlike = (truth != said).any(-1)
    orange = (wrong == (0xD5, 0x5E, 0)).all(-1)
    assert orange.any() and orange[unlike].mean() > 0.8 and abs(orange.mean() - 0.177) < 0.05
    assert [text.get_text() for text in gallery.legends[0].texts][-1] == "does not count"


@pytest.mark.parametrize("classes", [("all",), ("background", "cat", "dog")])
def test_nothing_wrong_is_drawn_too(tmp_path: Path, classes: tuple[str, ...]) -> None:
    source, scores = scored(classes, images=1)
    segment.gallery(source, scores.tables, tmp_path / "gallery.png")
    segment.iou_by_class(scores.tables, classes, tmp_path / "classes.png")
    assert len(segment.lines(scores, source.spec)) == len(classes) + 4


def test_lines_say_which_is_by_set_and_which_by_image() -> None:
    source, scores = scored()
    head, means, columns, *rows, last = segment.lines(scores, source.spec)
    assert "over all pixels of the set together" in head and "IoU by image" in means
    assert columns.split()[-2:] == ["F", "pixels"] and len(rows) == 4
    tables = scores.tables
    found = rows[2].removeprefix("  a dog whose name is long").split()
    expected = [f"{tables[name][2]:.4f}" for name in ("iou", "iou_low", "iou_high", "dice", "accuracy", "image_iou")]
    assert [word for word in found if word != "to"][:6] == expected and found[-1] == "90"
    assert rows[3].split()[:2] == ["never", "–"] and last.startswith("96 of 1,152 pixels do not count")


def test_counts_fit_into_the_cells_of_a_confusion_matrix() -> None:
    counts = {0: "0", 99_999: "99,999", 123_456: "123 k", 1_234_567: "1.23 M", 99_999_999: "100 M", 5e9: "5 G"}
    assert {count: confusion._few_digits(int(count)) for count in counts} == counts
