"""Colours of classes, maps over pictures, and what is said and drawn of data that have maps."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import IGNORED, VALID, Field, Role, Spec
from cnn_jax.report import data
from cnn_jax.report.colours import FIRST, VISIONS, colours_of, lab, palette
from cnn_jax.report.maps import as_rgb, borders, fitted, overlaid, tints_of, tints_of_objects


def test_classes_are_told_apart_with_any_common_colour_vision() -> None:
    table = palette()
    assert len(np.unique(table, axis=0)) == 256
    assert [colour.upper() for colour in colours_of([0, 6, 256])] == [FIRST[0], FIRST[6], FIRST[0]]
    for vision, least in zip(VISIONS, (25, 13, 13, 13), strict=True):  # CIELAB; 2.3 is just noticed
        seen = lab(table[:21], vision)
        apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
        assert apart[np.triu_indices(21, 1)].min() > least
    white, black = lab(np.array([[255] * 3, [0] * 3]))
    np.testing.assert_allclose([white, black], [[100, 0, 0], [0, 0, 0]], atol=0.02)


def test_contours_lie_within_their_areas_and_parts_of_a_picture_fit_together() -> None:
    values = np.zeros((600, 5), np.uint8)
    values[250:300, 1:], values[400] = 1, IGNORED
    near = np.zeros(values.shape, bool)
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        other = np.pad(values, 1, "edge")[1 + shift[0] :, 1 + shift[1] :][:600, :5]
        near |= other != values
    np.testing.assert_array_equal(borders(values, 1), near)
    assert borders(values, 2)[[248, 251, 252]].any(1).tolist() == [True, True, True]  # beside it the picture goes on
    tints, picture = tints_of(("background", "cat")), np.full((600, 5, 1), 100, np.uint8)
    found = overlaid(picture, values, tints).astype(int)
    assert (found[values == 0] == 100).all() and (found[400] == 255).all()  # a line of IGNORED is all contour
    assert (found[near & (values == 1)] == palette()[1]).all()
    inside = 100 + (palette()[1].astype(int) - 100) * 115 / 255
    assert np.abs(found[~near & (values == 1)] - inside).max() < 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_pictures_of_any_kind_become_rgb(channels: int, kind: type) -> None:
    picture = np.zeros((2, 3, channels), kind)
    picture[0] = 255 if kind == np.uint8 else 1
    found = as_rgb(picture)
    assert found.shape == (2, 3, 3) and found.dtype == np.uint8 and (found[0] == 255).all()
    assert (found[1] == (255 if channels == 4 else 0)).all()  # clear is white
    large, values = fitted(picture, np.array([[1, 2]]), (4, 6))
    assert large.shape == (4, 6, 3) and values.tolist() == [[1, 1, 1, 2, 2, 2]] * 4


def source_of(role: Role, maps: np.ndarray, valid: np.ndarray | None = None) -> ArraySource:
    spec = Spec(
        name="mapped",
        classes=("background", "cat", "dog"),
        inputs={"image": Field("image", (*maps.shape[1:], 1), "uint8")},
        targets={"map": Field(role, maps.shape[1:], str(maps.dtype))},
        prepare=ImagePrepare(),
        licence="",
        citation="",
        fingerprint="",
    )
    arrays = {"image": np.full((*maps.shape, 1), 90, np.uint8), "map": maps}
    return ArraySource(arrays if valid is None else {**arrays, VALID: valid}, spec)


def test_class_maps_of_data_are_counted_and_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    maps = np.zeros((3, 10, 10), np.uint8)
    maps[0, :5], maps[1, 0], maps[1, 1] = 1, IGNORED, 1
    source = source_of("class_map", maps)
    said = data.description({"all": source})
    rows = ["class        pixels  images", "background   79.31%       3", "cat          20.69%       2"]
    assert "\n".join([*rows, "dog           0.00%       0"]) in said
    assert "\n\n3.33% of the pixels of the pictures do not count, 20.7% of the pixels are not background\n" in said
    last = data.description({"all": source_of("class_map", maps, np.array([1, 0, 0], np.float32))})
    assert "cat          50.00%       1" in last and "do not count" not in last  # of what could be read
    data.sheet({"all": source}, tmp_path / "sheet.png")
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["background", "cat", "does not count"]
    shown = np.asarray(drawn[0].axes[0].images[0].get_array())
    assert (shown[-1] == 90).all() and not (shown[0] == 90).all(-1).any() and shown.shape[0] > 300


def test_maps_of_objects_are_counted_and_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    maps = np.zeros((2, 9, 9), np.int32)
    maps[0, :3, :3], maps[0, 5:8, 5:8] = 1, 300
    source = source_of("instance_map", maps)
    said = data.description({"all": source})
    assert "\n2 objects" in said and "objects on one of the images   0.02" in said
    assert said.splitlines()[-1].split() == ["size", "in", "pixels", "of", "the", "example", *"3333333"]
    assert "no objects" in data.description({"all": source_of("instance_map", maps[1:])})
    data.sheet({"all": source}, tmp_path / "sheet.png")
    assert [ax.get_title() for ax in drawn[0].axes[:2]] == ["0: 2 objects", "1: 0 objects"] and not drawn[0].legends
    table = tints_of_objects(600)
    assert len(np.unique(table[1:257], axis=0)) == 256 and not table[0].any()
