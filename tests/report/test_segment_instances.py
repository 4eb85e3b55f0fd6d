"""The objects of a picture as people see them: in its own pixels, numbered, in rows, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.placement import Placement
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import Field, Spec
from cnn_jax.report import segment_instances as report
from cnn_jax.report.instance_figures import MISSED, RIGHT, VOID, WRONG, _kinds, precision_by_threshold

SPEC = Spec(
    name="little",
    classes=("background", "cell"),
    inputs={"image": Field("image", (24, 30, 1), "uint8")},
    targets={"cells": Field("instance_map", (24, 30), "uint8")},
    prepare=ImagePrepare(),
    licence="",
    citation="",
    fingerprint="",
)


def outputs(*discs: tuple[float, float, float, float]) -> dict[str, np.ndarray]:
    """What a model says of discs x, y, radius, score."""
    table = np.array(discs, np.float32).reshape(-1, 4)
    return {
        "scores": table[:, 3],
        "centres": table[:, :2],
        "lengths": np.repeat(table[:, 2:3], 32, 1),
        "found": np.array(len(table), np.int32),
        "size": np.array([24, 30], np.int32),
    }


def test_objects_are_drawn_in_the_pixels_of_the_original() -> None:
    said = outputs((8, 8, 5, 0.9), (20, 12, 6, 0.8))
    here = report.result(said, SPEC, None)
    assert (
        here.instance_map.shape == (24, 30)
        and here.areas.tolist() == np.bincount(here.instance_map.ravel())[1:].tolist()
    )
    # Twice as wide and three times as tall, beside 4 pixels that the example does not show.
    there = report.result(said, SPEC, Placement((72, 64), (24, 30), (1 / 3, 1 / 2), (0.0, -2.0)))
    assert there.instance_map.shape == (72, 64)
    np.testing.assert_allclose(there.polygons, (here.polygons + (2, 0)) * (2, 3), rtol=1e-6)
    assert there.areas == pytest.approx(6 * here.areas, rel=0.05) and there.scores.tolist() == here.scores.tolist()
    row = report.rows(there)[1]
    assert (row["class"], row["object"], row["pixels"]) == ("cell", 2, there.areas[1])
    assert (row["left"], row["top"]) == pytest.approx((32, 18)) and len(row["polygon"].split()) == 32
    assert report.words(row).startswith(" 80.00%  cell 2  ")


def test_an_object_of_which_nothing_is_seen_has_no_number() -> None:
    # The last lies beneath the first two, no more than OVERLAP of it under either.
    said = outputs((8, 8, 5, 0.9), (18, 8, 5, 0.8), (13, 6.2, 1.4, 0.7), (25, 20, 3, 0.6))
    found = report.result(said, SPEC, Placement((8, 10), (24, 30), (3.0, 3.0)))
    assert len(found.areas) == found.instance_map.max() == 3 and found.areas.min() > 0
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True) and found.scores[-1] == np.float32(0.6)


def test_the_best_objects_stay_and_the_others_leave_the_map(tmp_path: Path) -> None:
    found = report.result(outputs((8, 8, 5, 0.9), (20, 12, 6, 0.8), (25, 21, 2, 0.6)), SPEC, None)
    for least, top, count in ((0.7, None, 2), (0.0, 1, 1), (0.95, None, 0), (0.0, None, 3)):
        kept = report.best(found, top, least)
        assert len(kept.scores) == len(kept.areas) == kept.instance_map.max() == count
        assert (kept.instance_map[kept.instance_map > 0] == found.instance_map[kept.instance_map > 0]).all()
    nothing = report.result(outputs(), SPEC, None)
    for one in (found, nothing):
        report.annotate(np.zeros((24, 30, 1), np.uint8), (24, 30), one, tmp_path / "one.png")
        written = report.files(one, tmp_path / "a" / "one.png")["mask"]
        np.testing.assert_array_equal(Image.open(written), one.instance_map)
    assert repr(nothing) == "Outlined(24 x 30 pixels: 0 x cell)" and report.rows(nothing) == []
    many = found._replace(scores=np.zeros(2**16, np.float32))
    with pytest.raises(ValueError, match="65,536 objects are too many for a mask of 16 bits"):
        report.files(many, tmp_path / "many.png")


def test_what_is_wrong_in_a_picture() -> None:
    truth, said = np.zeros((3, 8), int), np.zeros((3, 8), int)
    truth[0, :4], truth[1, :4], truth[2, 6:] = 1, 2, 3
    said[0, :3], said[1, 3:6], said[2, 5:] = 4, 5, 6
    void = truth == 3
    kinds = _kinds(truth, said, void)
    assert kinds[0].tolist() == [RIGHT] * 4 + [0] * 4
    assert kinds[1].tolist() == [MISSED] * 3 + [WRONG] * 3 + [0] * 2
    assert kinds[2].tolist() == [0] * 6 + [VOID] * 2  # 6 lies mostly on what is ignored


def test_curves_without_objects_say_so(tmp_path: Path) -> None:
    nothing = np.full(9, np.nan)
    tables = {name: nothing for name in ("average_precision", "precision", "recall")}
    tables |= {f"average_precision_{end}": nothing for end in ("low", "high")}
    precision_by_threshold({"thresholds": np.arange(50, 95, 5) / 100, **tables}, tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()
