"""Thresholds are the best of all there are, and a table shows them beside runs."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import Field, Spec

SCRIPT = Path(__file__).parents[3] / "experiments" / "studies" / "segmentation_baselines.py"


@pytest.fixture(scope="module")
def study():
    from absl import flags

    known = set(flags.FLAGS)
    yield runpy.run_path(str(SCRIPT))
    for name in set(flags.FLAGS) - known:
        delattr(flags.FLAGS, name)


def test_the_window_and_the_threshold_are_the_best(study):
    draw = np.random.default_rng(0)
    inside = draw.random((4, 30, 30)) < 0.3
    grey = np.where(inside, draw.normal(120, 25, inside.shape), draw.normal(90, 20, inside.shape))
    grey = (grey.clip(0, 255) // 8 * 8).astype(np.uint8)
    levels = range(0, 256, 8)

    def iou(low: int, high: int) -> float:
        said = (grey >= low) & (grey <= high)
        return float((said & inside).sum() / (said | inside).sum())

    best = max(iou(low, high) for low in levels for high in levels if low <= high)
    assert iou(*study["best_window"](grey, inside)) == best

    def between(threshold: int) -> float:
        above = grey > threshold
        return float(above.mean() * (1 - above.mean()) * (grey[above].mean() - grey[~above].mean()) ** 2)

    found = study["otsu"](grey)
    assert between(found) == pytest.approx(max(between(t) for t in levels if grey.min() <= t < grey.max()))


def test_pieces_of_a_mask_are_objects(study):
    truth = np.zeros((2, 8, 8), np.uint8)
    truth[0, :3, :3], truth[0, 5:, 5:], truth[1, 2:5, 2:5] = 1, 2, 1
    targets = {"cells": Field("instance_map", (8, 8), "uint8")}
    spec = Spec(
        name="drawn", classes=("cell",), inputs={"image": Field("image", (8, 8, 1), "uint8")}, targets=targets,
        prepare=ImagePrepare(), licence="", citation="", fingerprint="",
    )  # fmt: skip
    source = ArraySource({"image": truth[..., None] * 100, "cells": truth}, spec)
    said = truth > 0
    said[1, :, :3] = False  # 6 of its 9 pixels are left
    found = study["scored_objects"](source, said)
    assert (found["ap50"], found["ap75"], found["foreground_iou"]) == (1, 0.5, 24 / 27)
    assert (study["smoothed"](np.full((1, 4, 4), 9, np.uint8)) == 9).all()
