"""Pictures of examples: the right ones, in the right order, for images and signals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource, View
from cnn_jax.data.spec import Field, Spec
from cnn_jax.report import classify

SHAPES = [(6, 5, 3), (6, 5, 1), (6, 5, 2), (40, 1), (40, 3)]


def examples(count: int, shape: tuple[int, ...]) -> np.ndarray:
    images = np.random.default_rng(0).integers(256, size=(count, *shape), dtype=np.uint8)
    return images if len(shape) == 3 else images.astype(np.float32) / 255


def source_of(inputs: np.ndarray, classes: Sequence[str] = "ab") -> ArraySource:
    field = Field("image" if inputs.ndim == 4 else "signal", inputs.shape[1:], str(inputs.dtype))
    spec = Spec(
        name="x",
        classes=tuple(classes),
        inputs={"seen": field},
        targets={"label": Field("label", (), "int32")},
        prepare=ImagePrepare(),
        licence="",
        citation="",
        fingerprint="",
    )
    return ArraySource({"seen": inputs, "label": np.zeros(len(inputs), np.int32)}, spec)


@pytest.mark.parametrize("shape", SHAPES)
def test_gallery_shows_the_mistakes_by_confidence(tmp_path: Path, drawn: list[Figure], shape: tuple[int, ...]) -> None:
    images = examples(9, shape)
    mistakes = np.array([[0.8, 5, 0, 1], [0.7, 7, 0, 1], [0.6, 1, 1, 0]])  # confidence, index, true, predicted
    classify.mistakes_gallery(source_of(images, ["$cat", "dog"]), mistakes, tmp_path / "a" / "b.png", wrong=3, total=9)
    assert imread(tmp_path / "a" / "b.png").std() > 0.05
    axes = drawn[0].axes
    assert [ax.get_title() for ax in axes] == ["dog 80%", "dog 70%", r"\$cat 60%", *[""] * 5]
    assert [ax.get_xlabel() for ax in axes] == [r"\$cat  #5", r"\$cat  #7", "dog  #1", *[""] * 5]
    for ax, index in zip(axes, (5, 7, 1), strict=False):
        if len(shape) == 2:
            np.testing.assert_array_equal(np.stack([line.get_ydata() for line in ax.lines], -1), images[index])
        else:
            shown = ax.images[0].get_array()
            np.testing.assert_array_equal(shown, images[index] if shape[2] == 3 else images[index].mean(axis=-1))


def test_grey_images_are_not_stretched(tmp_path: Path, drawn: list[Figure]) -> None:
    images = np.full((1, 4, 4, 1), 10, np.uint8)
    mistakes = np.array([[0.7, 0, 0, 1]])
    classify.mistakes_gallery(source_of(images), mistakes, tmp_path / "mistakes.png", wrong=1, total=1)
    assert drawn[0].axes[0].images[0].get_clim() == (0, 255)


def test_gallery_stops_at_24_and_says_so(tmp_path: Path, drawn: list[Figure]) -> None:
    mistakes = np.column_stack([np.full(30, 0.7), np.arange(30), np.zeros(30), np.ones(30)])
    source = source_of(examples(40, (4, 4, 3)))
    classify.mistakes_gallery(source, mistakes, tmp_path / "mistakes.png", wrong=38, total=40)
    assert drawn[0].get_suptitle().startswith("38 mistakes in 40 images, the 24 most confident")
    assert len(drawn[0].axes) == 24
    assert drawn[0].axes[23].get_xlabel() == "a  #23"


@pytest.mark.parametrize(("shape", "units"), [((4, 4, 3), "images"), ((40, 1), "signals")])
def test_no_mistakes_at_all(tmp_path: Path, drawn: list[Figure], shape: tuple[int, ...], units: str) -> None:
    source = source_of(examples(2, shape))
    classify.mistakes_gallery(source, np.zeros((0, 4)), tmp_path / "mistakes.png", wrong=0, total=2)
    assert drawn[0].get_suptitle() == f"0 mistakes in 2 {units}"
    assert imread(tmp_path / "mistakes.png").std() > 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 100])
def test_annotate_lists_the_most_probable_classes(
    tmp_path: Path, drawn: list[Figure], shape: tuple[int, ...], classes: int
) -> None:
    probabilities = np.arange(classes) / np.arange(classes).sum()
    names = [f"class {k}" for k in range(classes)]
    classify.draw_ranking(examples(1, shape)[0], probabilities, names, tmp_path / "prediction.png")
    assert imread(tmp_path / "prediction.png").std() > 0.05
    picture, bars = drawn[0].axes
    best = list(range(classes))[::-1][:5]
    assert [text.get_text() for text in bars.texts[::2]] == [f"class {k}" for k in best]
    assert [text.get_text() for text in bars.texts[1::2]] == [f"{probabilities[k]:.1%}" for k in best]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(probabilities[best])
    assert picture.images or picture.lines


def test_mistakes_are_named_by_their_files(tmp_path: Path, drawn: list[Figure]) -> None:
    source = source_of(examples(3, (4, 4, 3)))
    source.names = ["a/0.jpg", "a/a name that is much too long.jpg", "b/2.jpg"]
    mistakes = np.array([[0.8, 2, 1, 0], [0.7, 1, 0, 1]])
    classify.mistakes_gallery(View(source, np.array([2, 0, 1])), mistakes, tmp_path / "m.png", wrong=2, total=3)
    assert [ax.get_xlabel() for ax in drawn[0].axes[:2]] == ["b\n…much too long.jpg", "a\na/0.jpg"]
    assert "the truth and the file" in drawn[0].get_suptitle()
    classify.mistakes_table(View(source, np.array([2, 0, 1])), mistakes, tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text().splitlines() == [
        "file,true,predicted,probability",
        "a/a name that is much too long.jpg,b,a,0.8",
        "a/0.jpg,a,b,0.7",
    ]
    source.names = None
    classify.mistakes_table(source, mistakes[:1], tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text() == "index,true,predicted,probability\n2,b,a,0.8\n"
