"""A segmenter by all verbs: trained, scored, asked, and asked from Python."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax.launch import cli

# Bright squares on dark grey; the network is a convolution of one pixel, which compiles in no time. It is trained on
# crops and predicts by windows.
EXPERIMENT = '''"""Squares.

Reproduces: nothing.
Command: python launch.py train squares.py
Time: no time.
Expected: little.
"""

from functools import partial

import flax.linen as nn
import numpy as np

from cnn_jax.augment.crop import crop
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.splits import array_splits
from cnn_jax.tasks.segment import segment
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant


def squares():
    arrays = {}
    for split, count in {"train": 8, "test": 4}.items():
        draw = np.random.default_rng(count)
        images, maps = draw.integers(20, 60, (count, 16, 16, 1)), np.zeros((count, 16, 16), np.uint8)
        for image, place in zip(images, maps):
            top, left = draw.integers(1, 8, 2)
            image[top : top + 7, left : left + 7] += 150
            place[top : top + 7, left : left + 7] = 1
        maps[:, 0] = 255
        arrays[split] = {"image": images.astype(np.uint8), "class_map": maps}
    return array_splits(
        "squares", arrays, ImagePrepare(size=(16, 16), resize="crop", channels=1), inputs={"image": "image"},
        targets={"class_map": "class_map"}, classes=("background", "coat", "bag"), licence="", citation="",
    )


class Pixels(nn.Module):
    classes: int
    dtype: object = None

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(self.classes, name="classifier")(x), {}


def experiment() -> Experiment:
    return Experiment(
        name="squares",
        data=Data(source=squares, batch_size=8),
        model=Model(build=Pixels, task=partial(segment, window=12)),
        optim=Optim(build=sgd, lr=1.0, schedule=constant),
        augment=partial(crop, size=12, foreground=0.5),
        duration="20 steps",
        evaluate=Evaluate(every="20 steps", batch_size=4),
        save_every="20 steps",
        compute=Compute(devices=1),
    )
'''
PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run runs/scenes_segmentation on squares, and two pictures: not to be changed."""
    folder = tmp_path_factory.mktemp("segmentation")
    (folder / "squares.py").write_text(EXPERIMENT)
    pixels = np.full((60, 40), 40, np.uint8)
    pixels[22:42, 8:24] = 200
    Image.fromarray(pixels).save(folder / "scene.png")
    (folder / "more").mkdir()
    Image.fromarray(pixels.T).convert("RGB").save(folder / "more" / "wide.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("cnn_jax.report.segment.figures", lambda *_: None)
        assert cli.main(["train", "squares.py", "--workdir=runs/scenes_segmentation"]) == 0
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, the current one; returns the run."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("runs/scenes_segmentation")


def test_predict_writes_a_mask_of_the_size_of_the_original(here: Path, launch: Callable) -> None:
    said = launch("predict", here, "scene.png", "more")
    first, *rows, last = said.out.splitlines()[:4]
    assert said.code == 0 and first == "scene.png" and last == "   33.33%  (not seen)  800 pixels"
    assert [row.split()[1] for row in rows] == ["background", "coat"]
    names = ["scene.png.predicted", "more/wide.png.predicted"]
    for name in names:
        path = here / "predictions" / name
        assert f"mask in {path}.mask.png\n  drawn in {path}.png" in said.out
    with Image.open(here / "predictions" / f"{names[0]}.mask.png") as mask:
        values, palette = np.asarray(mask), np.reshape(mask.getpalette(), (-1, 3))
        assert mask.mode == "P" and mask.size == (40, 60)
    assert (values[:10] == 255).all() and (values[50:] == 255).all()  # outside of the centre crop
    inside = values[10:50]
    assert set(np.unique(inside)) == {0, 1} and (inside[14:30, 10:22] == 1).all() and (inside[:, 26:] == 0).all()
    assert tuple(palette[0]) == (0, 0, 0) and len({tuple(palette[k]) for k in (0, 1, 2, 255)}) == 4
    with Image.open(here / "predictions" / f"{names[1]}.mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), values.T)


def test_masks_are_written_whatever_is_drawn_and_tables_name_them(here: Path, launch: Callable) -> None:
    assert launch("predict", here, "scene.png", "more", "--json=all.json", "--csv=all.csv", "--out=said").code == 0
    assert sorted(path.name for path in Path("said").rglob("*.png")) == [
        "scene.png.predicted.mask.png",
        "wide.png.predicted.mask.png",
    ]
    one, two = json.loads(Path("all.json").read_text())
    assert (one["mask"], one["height"], one["width"]) == ("said/scene.png.predicted.mask.png", 60, 40)
    assert [(row["class"], row["label"]) for row in one["predictions"]] == [
        ("background", 0),
        ("coat", 1),
        ("(not seen)", 255),
    ]
    assert sum(row["pixels"] for row in two["predictions"]) == 60 * 40
    assert sum(row["share"] for row in two["predictions"]) == pytest.approx(1)
    rows = list(csv.DictReader(Path("all.csv").open()))
    assert [row["mask"] for row in rows[:3]] == [one["mask"]] * 3 and rows[0]["rank"] == "1"
    # Of the most frequent class alone; the mask is the same, and in its place.
    before = Path(one["mask"]).read_bytes()
    Path(one["mask"]).write_text("to be replaced")
    some = launch("predict", here, "scene.png", "--top=1", "--draw=0", "--out=said")
    assert some.out.count("%") == 1 and Path(one["mask"]).read_bytes() == before
    # What was written beside the inputs is not looked at again.
    again = launch("predict", here, ".", "--csv=-", "--out=other")
    assert again.code == 0 and len({row["file"] for row in csv.DictReader(io.StringIO(again.out))}) == 2
    assert "left out 2 pictures that predict has drawn" in again.err


def test_a_mask_that_cannot_be_written_is_an_error(here: Path, launch: Callable) -> None:
    Path("mine").mkdir()
    (here / "predictions").symlink_to(Path("mine").resolve())  # as a stranger's run folder may have it
    said = launch("predict", here, "scene.png", "--draw=0")
    assert said.code == cli.BAD_INPUT and "is a link, through which nothing is written" in said.err
    assert not list(Path("mine").iterdir())
    (here / "predictions").unlink()
    (here / "predictions").write_text("in the way")
    said = launch("predict", here, "scene.png", "--json=all.json")
    assert said.code == cli.BAD_INPUT and "predictions" in said.err.splitlines()[-1]
    assert said.err.endswith(": say --out=FOLDER\n") and json.loads(Path("all.json").read_text()) == []


def test_eval_says_each_class_and_python_the_same_map(here: Path, launch: Callable, monkeypatch, capsys) -> None:
    monkeypatch.setattr("cnn_jax.report.segment.figures", lambda *_: None)
    said = launch("eval", here, "--csv=each.csv")
    lines = said.out.splitlines()
    assert said.code == 0 and any(re.fullmatch(r" +coat +[\d.]+ +[\d.]+ to [\d.]+ .* 196", line) for line in lines)
    assert any(re.fullmatch(r" +bag +– .* 0", line) for line in lines)
    assert "  64 of 1,024 pixels do not count, as they are of no known class" in lines
    assert sum(int(row["pixels"]) for row in csv.DictReader(Path("each.csv").open())) == 4 * 16 * 16

    (block,) = (b for b in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S) if "class_map" in b)
    names: dict = {}
    exec(compile(block, str(PAGE), "exec"), names)
    assert "(60, 40) ('background', 'coat', 'bag')" in capsys.readouterr().out
    assert launch("predict", here, "scene.png", "--draw=0").code == 0
    with Image.open(here / "predictions/scene.png.predicted.mask.png") as mask:
        np.testing.assert_array_equal(names["coats"], np.asarray(mask) == 1)
    with pytest.raises(ValueError, match="the model knows no class 'goat': did you mean 'coat'"):
        names["result"].mask("goat")
    flat = cnn_jax.load(here).predict(np.zeros((16, 16), np.uint8))
    assert flat.class_map.shape == (16, 16) and repr(flat) == "Segmented(16 x 16 pixels: background 100.0%)"
