"""A detector by all verbs: trained, made longer, scored, asked, compared, and begun from another."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import cnn_jax
from cnn_jax.launch import cli
from cnn_jax.train.predictor import stored_variables
from tests.data.painted import coco_json, painted
from tests.evals.detection_sets import NAMES

# A network of two layers, which compiles in no time: each cell of 8 x 8 pixels says one box.
EXPERIMENT = '''"""Painted boxes.

Reproduces: nothing.
Command: python launch.py train cells.py
Time: no time.
Expected: little.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.coco import coco
from cnn_jax.models.detector import found
from cnn_jax.models.layers import Conv
from cnn_jax.tasks.detect import detect
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant


class Backbone(nn.Module):
    classes: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, train):
        return {"cells": nn.relu(Conv(8, (8, 8), (8, 8), name="conv")(x))}


class Cells(nn.Module):
    classes: int
    backbone: Any = Backbone
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, train, content=None, objects=None):
        cells = self.backbone(classes=None, name="backbone")(x, train=train)["cells"]
        low = 8 * jnp.stack(jnp.meshgrid(*map(jnp.arange, cells.shape[1:3]), indexing="xy"), -1).reshape(-1, 2)
        moved = nn.Dense(4, name="sides")(cells).reshape(len(x), -1, 4)
        boxes = jnp.concatenate([low, low + 12], -1) + moved
        return nn.Dense(self.classes, name="classifier")(cells).reshape(len(x), -1, self.classes), boxes

    def losses(self, raw, objects):
        logits, boxes = raw
        there = (jax.nn.one_hot(objects.labels, logits.shape[-1]) * objects.present[..., None]).max(1)[:, None]
        real = objects.images[:, None]
        wrong = optax.sigmoid_binary_cross_entropy(logits, jnp.broadcast_to(there, logits.shape)).mean(-1) * real
        return {
            "classes": (wrong.sum(), objects.images.sum() * logits.shape[1]),
            "boxes": ((jnp.abs(boxes - objects.boxes[:, :1]).mean(-1) * real).sum(), objects.images.sum() * 50.0),
        }

    def detections(self, raw, content):
        logits, boxes = raw
        order = jnp.argsort(-logits.max(-1), axis=1)
        logits, boxes = (jnp.take_along_axis(one, order[..., None], 1) for one in (logits, boxes))
        low, high = content[:, None, :2], content[:, None, 2:]
        boxes = jnp.concatenate([jnp.clip(boxes[..., :2], low, high), jnp.clip(boxes[..., 2:], low, high)], -1)
        valid = ((boxes[..., 2:] - boxes[..., :2]) > 0.5).all(-1)
        return found(boxes, nn.sigmoid(logits.max(-1)), logits.argmax(-1), valid)


def experiment() -> Experiment:
    return Experiment(
        name="cells",
        data=Data(source=partial(coco, path="set", size=32), batch_size=4, validation=0.1),
        model=Model(build=Cells, task=detect),
        optim=Optim(build=sgd, lr=0.01, schedule=constant),
        augment=identity,
        duration="4 steps",
        evaluate=Evaluate(every="4 steps", batch_size=4),
        save_every="4 steps",
        compute=Compute(devices=1),
    )
'''
SIZES = {"train": 8, "val": 4, "test": 4}
OTHER = "--config.data.source=coco(path='other', images='set', size=32)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with set/ and other/ (of other classes), and the run `one` on set/: not to be changed."""
    folder, draw = tmp_path_factory.mktemp("detection"), np.random.default_rng(0)
    for split, count in SIZES.items():
        files, boxes = {}, []
        for number in range(1, count + 1):
            size = (40, 60) if number % 2 else (50, 30)
            left, top = draw.integers(size[1] - 18), draw.integers(size[0] - 16)
            painted(folder / "set" / f"{split}{number}.png", size, [(left, top, left + 16, top + 14)])
            files[f"{split}{number}.png"] = size
            boxes.append((number, 7 if number % 3 else 1, (int(left), int(top), 16, 14)))
        content = coco_json(folder / "set" / f"{split}.json", files, boxes)
        for record in content["images"]:
            record["id"] *= 10
        for record in content["annotations"]:
            record["image_id"] *= 10
        (folder / "set" / f"{split}.json").write_text(json.dumps(content))
        coco_json(folder / "other" / f"{split}.json", files, boxes, {1: "red", 7: "green", 8: "blue"})
    (folder / "cells.py").write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("cnn_jax.report.detect.figures", lambda *_: None)
        also = "--config.evaluate.also=elsewhere(source='coco:set/test.json', every='4 steps')"
        assert cli.main(["train", "cells.py", "--workdir=one", also]) == 0
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, the current one."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_methods_are_ranked_by_whether_they_point_at_the_object_of_a_box(here: Path, launch: Callable) -> None:
    said = launch("explain", "one", "--benchmark", "--methods=gradient", "--examples=4")
    assert said.code == 0, said.err
    assert "4 of 4 images, test split" in said.out and "pointing ↑" in said.out and "energy_inside ↑" in said.out
    values = np.load("one/explanations/benchmark.npz")
    assert np.isfinite(values["values"][:, list(values["measures"]).index("deletion")]).all()


def test_pycocotools_finds_the_same_in_what_eval_writes(here: Path, launch: Callable) -> None:
    said = launch("eval", "one", "--coco", "--out=out", "--csv=all.csv")
    assert said.code == 0 and "\n  ap " in said.out and Path("out/gallery.png").is_file()
    truth, printed = json.loads(Path("out/truth.json").read_text()), json.loads(Path("out/scores.json").read_text())
    assert [image["id"] for image in truth["images"]] == [10, 20, 30, 40]
    assert truth["images"][0]["file_name"] == "test1.png" and truth["images"][0]["height"] == 40
    assert [category["id"] for category in truth["categories"]] == [1, 7]
    own = json.loads(Path("set/test.json").read_text())["annotations"]
    found = [(one["image_id"], one["category_id"], one["bbox"]) for one in truth["annotations"]]
    assert [one[:2] for one in found] == [(one["image_id"], one["category_id"]) for one in own]
    np.testing.assert_allclose([one[2] for one in found], [one["bbox"] for one in own], atol=1e-4)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO("out/truth.json")
        scorer = COCOeval(theirs, theirs.loadRes("out/detections.json"), "bbox")
        scorer.evaluate(), scorer.accumulate(), scorer.summarize()
    assert [-1 if printed[name] is None else printed[name] for name in NAMES] == scorer.stats.tolist()
    assert scorer.stats[8] > 0
    rows, detections = list(csv.DictReader(Path("all.csv").open())), json.loads(Path("out/detections.json").read_text())
    assert len(rows) == len(detections) > 20 and rows[0]["file"] == "image 10 (test1.png)"
    np.testing.assert_allclose(float(rows[0]["left"]), detections[0]["bbox"][0], atol=1e-4)
    results = json.loads(Path("one/results.json").read_text())
    assert results["test"]["ap50"] == printed["ap50"]  # and so by another source, every picture of it:
    assert results["also"]["test.json"]["ap50"] == printed["ap50"]


def test_predict_says_what_is_sure_and_tables_hold_all(
    here: Path, launch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", "one", "set/test1.png", "set/test2.png")
    every = launch(*words, "--least=0", "--draw=0")
    model = cnn_jax.load("one")
    one, two = model.predict(["set/test1.png", "set/test2.png"])
    count = len(one.names) + len(two.names)
    assert every.code == 0 and every.out.count("%") == count > 10 and "not shown" not in every.out
    middle = float(np.sort(np.concatenate([one.scores, two.scores]))[-5])
    monkeypatch.setattr("cnn_jax.report.detect.LEAST", middle)
    said = launch(*words)
    assert said.out.count("%") == 5 and said.out.count("drawn in") == 2
    assert f"{count - 5} of {count} have scores below" in said.out and "--least=0 shows them" in said.out
    nothing = launch(*words, "--least=1", "--draw=0")
    assert nothing.out.count("nothing with a score of 1 or more") == 2

    assert launch(*words, "--csv=all.csv", "--json=all.json").code == 0
    pictures = json.loads(Path("all.json").read_text())
    assert [(p["file"], p["height"], p["width"]) for p in pictures] == [
        ("set/test1.png", 40, 60),
        ("set/test2.png", 50, 30),
    ]
    boxes = [[row[side] for side in ("left", "top", "right", "bottom")] for row in pictures[0]["predictions"]]
    np.testing.assert_array_equal(np.float32(boxes), one.boxes)
    assert np.min(boxes) >= 0 and np.max(boxes, 0)[3] <= 40 < np.max(boxes, 0)[2] <= 60
    assert len(list(csv.DictReader(Path("all.csv").open()))) == count
    assert launch(*words, "--json=some.json", f"--least={middle:.9f}", "--top=1").code == 0
    assert max(len(picture["predictions"]) for picture in json.loads(Path("some.json").read_text())) == 1
    with Image.open("one/predictions/set/test1.png.predicted.png") as drawn:
        assert min(drawn.size) > 200


def test_a_run_is_made_longer_and_another_begins_from_it(
    here: Path, launch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_jax.report.detect.figures", lambda *_: None)
    weights = ("--config.transfer.weights=one", "--config.transfer.frozen=backbone")
    tuned = launch("train", "cells.py", "--workdir=two", OTHER, *weights, "--config.transfer.layer_decay=0.5")
    assert tuned.code == 0 and "the last layer is new, as the weights are not for the same classes" in tuned.out
    before, after = (stored_variables(Path(run)).variables for run in ("one", "two"))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(before[f"params/backbone/conv/{name}"], after[f"params/backbone/conv/{name}"])
    assert after["params/classifier/kernel"].shape == (8, 3) and before["params/classifier/kernel"].shape == (8, 2)
    moved = np.abs(before["params/sides/kernel"] - after["params/sides/kernel"]).max()
    assert 0 < moved < 0.1  # it was not drawn anew
    probe = launch("train", "cells.py", "--workdir=three", *weights, "--config.transfer.head=probe")
    assert probe.code == 2 and probe.err.count("error: ") == 1 and "probe is for classifiers" in probe.err

    longer = launch("train", "one", "--config.duration=6 steps")
    assert longer.code == 0 and "going on from step 4, made longer" in longer.out
    compared = launch("report", "one", "two")
    assert compared.code == 0 and "test ap" in compared.out and Path("report.html").is_file()


def test_a_box_is_explained(here, launch):
    said = launch("explain", "one", "set/test1.png", "--methods=gradient,grad_cam", "--target=2")
    assert said.code == 0, said.err
    assert "the score of box 2, " in said.out and "layer backbone/cells, 4x4: the last feature map" in said.out
    (arrays,) = (here / "one" / "explanations").rglob("test1.png.explained.npz")
    assert np.abs(np.load(arrays)["gradient"]).max() > 0
    said = launch("explain", "one", "set/test1.png", "--methods=gradient", "--target=99")
    assert said.code == 2 and "there is no box 99" in said.err
