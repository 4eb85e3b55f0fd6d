"""What is said and drawn of detections."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.placement import Placement
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import Field, Spec
from cnn_jax.report import detect

SPEC = Spec(
    name="pictures",
    classes=("cat", "dog"),
    inputs={"image": Field("image", (10, 10, 3), "uint8")},
    targets={},
    prepare=ImagePrepare(size=(10, 10), resize="letterbox"),
    licence="",
    citation="",
    fingerprint="",
)
OUTPUTS = {
    "boxes": np.array([[1, 2, 5, 8], [0, 4, 4, 6], [0, 0, 0, 0]], np.float32),
    "scores": np.array([0.9, 0.2, 0], np.float32),
    "labels": np.array([1, 0, -1], np.int32),
}


def test_boxes_are_in_the_pixels_of_the_picture():
    found = detect.result(OUTPUTS, SPEC, Placement((12, 20), (10, 10), (0.5, 0.5), (2.0, 0.0)))
    assert found.boxes.tolist() == [[2, 0, 10, 12], [0, 4, 8, 8]] and found.names == ("dog", "cat")
    assert len(found.above(0.5).names) == 1 and repr(found) == "Found(dog 90%; 2 boxes in all)"
    rows = detect.rows(found)
    assert json.loads(json.dumps(rows))[1]["class"] == "cat" and rows[0]["right"] == 10
    assert detect.words(rows[0]) == " 90.00%  dog  2.0 0.0 10.0 12.0"


def test_nothing_found_is_said_and_drawn(tmp_path):
    nothing = {name: array[2:] for name, array in OUTPUTS.items()}
    found = detect.result(nothing, SPEC, None)
    assert detect.rows(found) == [] and "nothing" in repr(found)
    detect.annotate(np.zeros((10, 10, 3), np.uint8), (10, 10, 3), found, tmp_path / "nothing.png")
    with Image.open(tmp_path / "nothing.png") as drawn:
        assert drawn.size[0] >= 0.9 * detect.SIDE


def test_so_many_are_shown_from_so_high_a_score_on():
    found = detect.result({**OUTPUTS, "masks": np.zeros((3, 2, 2), np.float32)}, SPEC, None)
    assert detect.best(found, detect.TOP, detect.LEAST).names == ("dog",)
    every = detect.best(found, None, 0)
    assert every.names == ("dog", "cat") and every.masks is not None and len(every.masks) == 2
    assert detect.best(found, 1, 0).names == ("dog",) and detect.best(found, 5, 0.95).names == ()


@pytest.mark.parametrize(("height", "width"), [(300, 400), (12, 16), (400, 40), (1200, 1600)])
def test_names_lie_in_the_picture_and_cover_no_other(height, width, tmp_path, monkeypatch):
    """Objects at all edges, one around all, and two on each other, of which the better is drawn."""
    shares = [(0, 0, 1, 1), (0, 0, 0.2, 0.1), (0.8, 0, 1, 0.1), (0, 0.9, 0.2, 1), (0.8, 0.9, 1, 1), (0.01, 0, 1, 1)]
    boxes = np.array(shares, np.float32) * np.tile([width, height], 2).astype(np.float32)
    names = ("all", "one", "two", "three", "four", "other")
    found = detect.Found(boxes, names, np.linspace(0.9, 0.4, 6, dtype=np.float32), np.arange(6, dtype=np.int32))
    drawn = []
    monkeypatch.setattr(detect, "save", lambda figure, path: drawn.append(figure))
    detect.annotate(np.zeros((height, width, 3), np.uint8), (height, width), found, tmp_path / "one.png")
    (ax,), (title,) = drawn[0].axes, drawn[0].texts
    assert title.get_text() == "5 boxes, 1 more in the same places"
    assert sorted(text.get_text().split()[0] for text in ax.texts) == sorted(names[:5])
    drawn[0].draw_without_rendering()
    places = [text.get_bbox_patch().get_window_extent() for text in ax.texts]
    for number, place in enumerate(places):
        assert place.x0 > ax.bbox.x0 - 2 and place.x1 < ax.bbox.x1 + 2
        assert place.y0 > ax.bbox.y0 - 4 and place.y1 < ax.bbox.y1 + 4
        for other in places[:number]:
            across = min(place.x1, other.x1) - max(place.x0, other.x0)
            down = min(place.y1, other.y1) - max(place.y0, other.y0)
            assert across < 1 or down < 4, (ax.texts[number].get_text(), across, down)


@pytest.mark.parametrize("size", [(80, 200, 3), (200, 80, 3)])
def test_a_drawn_box_lies_where_it_was_found(size, tmp_path):
    """On white, whatever the proportions: the frame's coloured pixels span the box."""
    height, width = size[:2]
    box = np.array([[width * 0.2, height * 0.4, width * 0.6, height * 0.9]], np.float32)
    found = detect.Found(box, ("cat",), np.array([0.8], np.float32), np.array([0], np.int32))
    detect.annotate(np.full(size, 255, np.uint8), size, found, tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    orange = (np.abs(pixels - (0xD5, 0x5E, 0x00)) < 40).all(-1)
    dark = (pixels.max(-1) < 120).sum(0)
    frame = np.flatnonzero(dark > 0.8 * dark.max())  # columns of the picture's border
    sides = np.flatnonzero(orange.sum(0) > 0.8 * orange.sum(0).max())  # its name is wider, but not as high
    left, right = frame.min(), frame.max()
    assert (sides.min() - left) / (right - left) == pytest.approx(0.2, abs=0.05)
    assert (sides.max() - left) / (right - left) == pytest.approx(0.6, abs=0.05)
