"""Pictures of examples: the right ones, in the right order, for images and signals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from cnn_jax.data.source import ArraySource, Spec
from cnn_jax.report import gallery

SHAPES = [(6, 5, 3), (6, 5, 1), (6, 5, 2), (40, 1), (40, 3)]


def examples(count: int, shape: tuple[int, ...]) -> np.ndarray:
    images = np.random.default_rng(0).integers(256, size=(count, *shape), dtype=np.uint8)
    return images if len(shape) == 3 else images.astype(np.float32) / 255


def source_of(images: np.ndarray, classes: Sequence[str] = "ab") -> ArraySource:
    channels = images.shape[-1]
    spec = Spec(
        "x", tuple(classes), images.shape[1:], str(images.dtype), (0.0,) * channels, (1.0,) * channels, "", "", ""
    )
    return ArraySource(images, np.zeros(len(images), np.int32), spec)


@pytest.mark.parametrize("shape", SHAPES)
def test_gallery_shows_the_mistakes_by_confidence(tmp_path: Path, drawn: list[Figure], shape: tuple[int, ...]) -> None:
    images = examples(9, shape)
    source, index = source_of(images, ["$cat", "dog"]), [1, 3, 5, 7]
    logits = np.log([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    gallery.mistakes_gallery(source, index, [1, 1, 0, 0], logits, tmp_path / "a" / "mistakes.png")
    assert imread(tmp_path / "a" / "mistakes.png").std() > 0.05
    axes = drawn[0].axes
    assert [ax.get_title() for ax in axes] == ["dog 80%", "dog 70%", r"\$cat 60%", "", ""]
    assert [ax.get_xlabel() for ax in axes] == [r"\$cat  #5", r"\$cat  #7", "dog  #1", "", ""]
    if len(shape) == 2:
        np.testing.assert_array_equal(np.stack([line.get_ydata() for line in axes[0].lines], -1), images[5])
    else:
        shown = axes[0].images[0].get_array()
        np.testing.assert_array_equal(shown, images[5] if shape[2] == 3 else images[5].mean(axis=-1))


def test_grey_images_are_not_stretched(tmp_path: Path, drawn: list[Figure]) -> None:
    images = np.full((1, 4, 4, 1), 10, np.uint8)
    gallery.mistakes_gallery(source_of(images), [0], [0], [[0.0, 1.0]], tmp_path / "mistakes.png")
    assert drawn[0].axes[0].images[0].get_clim() == (0, 255)


def test_gallery_stops_at_25_and_says_so(tmp_path: Path, drawn: list[Figure]) -> None:
    logits = np.tile([0.0, 1.0], (40, 1))
    source = source_of(examples(40, (4, 4, 3)))
    gallery.mistakes_gallery(source, np.arange(40), np.zeros(40, int), logits, tmp_path / "mistakes.png")
    assert drawn[0].get_suptitle().startswith("40 mistakes in 40 examples, the 25 most confident")
    assert len(drawn[0].axes) == 25
    assert drawn[0].axes[24].get_xlabel() == "a  #24"


def test_no_mistakes_at_all(tmp_path: Path, drawn: list[Figure]) -> None:
    gallery.mistakes_gallery(source_of(examples(2, (4, 4, 3))), [0, 1], [0, 1], np.eye(2), tmp_path / "mistakes.png")
    assert drawn[0].get_suptitle() == "0 mistakes in 2 examples"
    assert imread(tmp_path / "mistakes.png").std() > 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 100])
def test_annotate_lists_the_most_probable_classes(
    tmp_path: Path, drawn: list[Figure], shape: tuple[int, ...], classes: int
) -> None:
    probabilities = np.arange(classes) / np.arange(classes).sum()
    names = [f"class {k}" for k in range(classes)]
    gallery.annotate(examples(1, shape)[0], probabilities, names, tmp_path / "prediction.png")
    assert imread(tmp_path / "prediction.png").std() > 0.05
    picture, bars = drawn[0].axes
    best = list(range(classes))[::-1][:5]
    assert [text.get_text() for text in bars.texts[::2]] == [f"class {k}" for k in best]
    assert [text.get_text() for text in bars.texts[1::2]] == [f"{probabilities[k]:.1%}" for k in best]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(probabilities[best])
    assert picture.images or picture.lines
