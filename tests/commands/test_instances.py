"""Instance segmentation by all verbs: trained, scored with its figures, and asked."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax.launch import cli

# One bright disc on dark grey; the network says its middle and its radius, up to one number that it learns.
EXPERIMENT = '''"""Discs.

Reproduces: nothing.
Command: python launch.py train discs.py
Time: no time.
Expected: little.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.splits import array_splits
from cnn_jax.models.star_convex import Outlines
from cnn_jax.tasks.segment_instances import segment_instances
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant


def discs():
    arrays = {}
    y, x = np.mgrid[:32, :32]
    for split, count in {"train": 8, "test": 4}.items():
        draw = np.random.default_rng(count)
        at, radius = draw.uniform(10, 22, (count, 2, 1, 1)), draw.uniform(4, 8, (count, 1, 1))
        maps = (y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2 < radius**2
        arrays[split] = {"image": (200 * maps + 20)[..., None].astype(np.uint8), "cells": maps.astype(np.uint8)}
    return array_splits(
        "discs", arrays, ImagePrepare(size=(32, 32), resize="pad", background=0, channels=1), inputs={"image": "image"},
        targets={"cells": "instance_map"}, classes=("cell",), licence="", citation="",
    )


class Middle(nn.Module):
    classes: int
    dtype: object = None

    @nn.compact
    def __call__(self, x, *, train):
        reach = self.param("reach", nn.initializers.constant(0.5), ())
        bright = (x[..., 0] > 0).astype(jnp.float32)
        return bright, reach

    def losses(self, raw, instances, counted):
        return {"lengths": ((raw[1] - 1) ** 2 * counted.sum(), counted.sum())}

    def outlines(self, raw):
        bright, reach = raw
        area = bright.sum((1, 2))
        rows, columns = (jnp.arange(n) + 0.5 for n in bright.shape[1:])
        x, y = (bright * columns).sum((1, 2)) / area, (bright * rows[:, None]).sum((1, 2)) / area
        radius = reach * jnp.sqrt(area / jnp.pi)
        lengths = jnp.broadcast_to(radius[:, None, None], (len(bright), 1, 32))
        found = jnp.ones(len(bright), jnp.int32)
        return Outlines(0.9 * jnp.ones((len(bright), 1)), jnp.stack([x, y], -1)[:, None], lengths, found)


def experiment() -> Experiment:
    return Experiment(
        name="discs",
        data=Data(source=discs, batch_size=8),
        model=Model(build=Middle, task=segment_instances),
        optim=Optim(build=sgd, lr=0.5, schedule=constant),
        augment=identity,
        duration="20 steps",
        evaluate=Evaluate(every="20 steps", batch_size=4),
        save_every="20 steps",
        compute=Compute(devices=1),
    )
'''


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and a picture, larger than its tiles: not to be changed."""
    folder = tmp_path_factory.mktemp("instances")
    (folder / "discs.py").write_text(EXPERIMENT)
    y, x = np.mgrid[:60, :80]
    Image.fromarray(np.where((y - 40) ** 2 + (x - 30) ** 2 < 100, 220, 20).astype(np.uint8)).save(folder / "cell.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["train", "discs.py", "--workdir=run"]) == 0
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, the current one; returns the run."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("run")


def test_a_run_is_scored_and_drawn(here: Path, launch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    results = json.loads((here / "results.json").read_text())["test"]
    assert results["ap50"] == 1 and results["foreground_iou"] > 0.9 and results["ap50"] >= results["ap"]
    for name in ("learning_curves", "average_precision", "gallery"):
        assert min(Image.open(here / "figures" / f"{name}.png").size) > 100
    monkeypatch.setattr("cnn_jax.report.segment_instances.figures", lambda *_: None)
    said = launch("eval", here)
    assert said.code == 0 and "  4 objects in 4 images, 4 predicted" in said.out
    assert any(line.split()[:2] == ["0.50", "1.0000"] and line.split()[-3:] == ["4", "0", "0"]
               for line in said.out.splitlines())  # fmt: skip


def test_predict_writes_the_map_of_a_picture_of_any_size(here: Path, launch: Callable) -> None:
    said = launch("predict", here, "cell.png", "--json=all.json", "--csv=all.csv", "--draw=1")
    assert said.code == 0
    path = here / "predictions" / "cell.png.predicted.mask.png"
    with Image.open(path) as mask:
        values = np.asarray(mask)
        assert mask.size == (80, 60) and mask.mode == "I;16"
    y, x = np.mgrid[:60, :80]
    truth = (y - 40) ** 2 + (x - 30) ** 2 < 100
    assert set(np.unique(values)) == {0, 1} and ((values == 1) & truth).sum() / ((values == 1) | truth).sum() > 0.95
    (one,) = json.loads(Path("all.json").read_text())
    (row,) = one["predictions"]
    assert one["mask"] == str(path) and (row["class"], row["object"], row["pixels"]) == ("cell", 1, (values == 1).sum())
    assert [row["left"], row["bottom"]] == pytest.approx([20.5, 50.5], abs=0.5)
    corners = np.array([pair.split(",") for pair in row["polygon"].split()], float)
    assert corners.shape == (32, 2) and corners.mean(0) == pytest.approx([30.5, 40.5], abs=0.1)
    assert [line["polygon"] for line in csv.DictReader(Path("all.csv").open())] == [row["polygon"]]
    with Image.open(path.with_name("cell.png.predicted.png")) as drawn:
        pixels = np.asarray(drawn)
    assert (np.ptp(pixels.astype(int), axis=2) > 100).sum() > 100  # a contour in colour on a grey picture

    found = cnn_jax.load(here).predict("cell.png")
    np.testing.assert_array_equal(found.instance_map, values)
    assert repr(found) == "Outlined(60 x 80 pixels: 1 x cell)" and (found.mask(1) == (values == 1)).all()
    said = launch("predict", here, "cell.png", "--least=0.95", "--draw=0")
    assert "nothing with a score of 0.95 or more" in said.out and "90.00%" not in said.out
