"""describe: what it says of a model and of data, and what it says to mistakes."""

import dataclasses
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cnn_jax.launch import cli
from cnn_jax.models import lenet
from cnn_jax.models.variant import Preprocessing
from tests.data.painted import coco_json, painted

ROOT = Path(__file__).parents[2]


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_published_model(launch):
    said = launch("describe", "lenet5")
    assert said.code == 0 and said.err == ""
    layers, features, totals = (rows(part) for part in said.out.split("\n\n")[1:])
    assert said.out.startswith("lenet5: batch 1 of 32x32x1, 10 classes\n")
    assert layers == [
        ["layer", "kind", "output", "parameters", "multiply-adds"],
        ["c1", "Conv", "28x28x6", "156", "117,600"],
        ["c3", "Conv", "10x10x16", "2,416", "240,000"],
        ["c5", "Dense", "120", "48,120", "48,000"],
        ["f6", "Dense", "84", "10,164", "10,080"],
        ["classifier", "Dense", "10", "850", "840"],
    ]
    assert features == [
        ["feature", "output", "stride", "sees", "from"],
        ["stage1", "14x14x6", "2", "6x6", "0"],
        ["stage2", "5x5x16", "4", "16x16", "0"],
        ["pooled", "84", "everything"],
    ]
    assert totals[0][:2] == ["parameters", "61,706"] and totals[1][:2] == ["multiply-adds", "416,520"]
    assert totals[-1] == ["published", "in", *lenet.lenet5.source.split()]


def test_another_input_and_setting(launch):
    said = launch("describe", "lenet.lenet5(padding=2, act=jax.nn.relu)", "--input=28,20,3", "--classes=3", "--batch=4")
    assert said.code == 0 and said.err == ""
    assert said.out.startswith("lenet.lenet5(padding=2, act=jax.nn.relu): batch 4 of 28x20x3, 3 classes\n")
    assert ["c1", "Conv", "28x20x6", str(5 * 5 * 3 * 6 + 6), f"{4 * 28 * 20 * 6 * 75:,}"] in rows(said.out)
    assert ["classifier", "Dense", "3", "255", "1,008"] in rows(said.out)
    assert ["stage2", "5x3x16", "4", "16x16", "-2"] in rows(said.out)


def test_fields_of_one_axis_and_through_pooling(launch):
    said = launch("describe", "conv_base")
    assert ["stage2", "10x25", "4", "9", "-3"] in rows(said.out)
    assert ["pooled", "125", "everything"] in rows(said.out)
    said = launch("describe", "mobilenet_v3_small", "--input=128,128,3")
    assert "7x7, and everything pooled" in said.out and said.err == ""


def test_who_publishes_weights_and_what_they_expect(launch, monkeypatch):
    preprocessing = Preprocessing(size=28, crop=0.875)
    published = dataclasses.replace(lenet.lenet5, reference="somewhere:lenet", preprocessing=preprocessing)
    monkeypatch.setattr(lenet, "lenet5", published)
    out = launch("describe", "lenet5").out
    assert "\nweights        somewhere:lenet\n" in out
    assert "short side to 32 pixels (bilinear), 28x28 from the centre" in out and "(0.485, 0.456, 0.406)" in out


def test_a_stem_made_for_larger_images_is_noticed(launch):
    said = launch("describe", "resnet18", "--input=32,32,3")
    assert said.code == 0
    assert said.err.startswith("warning: the model was made for larger images: it shrinks 32x32 to 1x1")
    assert len(said.err.splitlines()) == 1
    assert launch("describe", "resnet18(stem=fitting_stem)", "--input=32,32,3").err == ""


def test_data_with_boxes(launch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        painted(tmp_path / name, (50, 100), [])
    boxes = [(1, 7, (0, 0, 40, 40)), (1, 1, (0, 0, 10, 40)), (2, 7, (0, 0, 40, 10)), (2, 1, (0, 0, 10, 90))]
    content = coco_json(tmp_path / "set.json", dict.fromkeys(("a.png", "b.png", "c.png"), (50, 100)), boxes)
    content["annotations"][1]["iscrowd"] = 1
    (tmp_path / "set.json").write_text(json.dumps(content))
    said = launch("describe", "coco(set.json, size=200)", "--out=seen")
    assert said.code == 0 and said.err == ""
    parts = said.out.split("\n\n")
    assert parts[:2] == ["coco:set.json: images of 200x200x3, 2 classes", "all: 3 images"]
    assert rows(parts[2])[1:] == [["cat", "1", "1", "1"], ["dog", "2", "2", "0"]]
    numbers = {line[0]: line[-7:] for line in (re.split(r"  +", text) for text in parts[3].splitlines())}
    assert numbers["objects on one of the images"][2:5] == ["0.5", "1", "1.5"]
    assert numbers["size in pixels of the picture"][3] == "22.36" == f"{500**0.5:.4g}"  # 10 x 50, as it is cut
    assert numbers["size in pixels of the example"][3] == "44.72"
    assert numbers["width / height"][2:5] == ["0.6", "1", "2.5"]
    assert parts[4].splitlines() == [
        "66.7% of the objects are small (up to 32 x 32 pixels of the picture), 0.0% large (from 96 x 96 on)",
        "1 of 3 images have no objects",
    ]
    assert [line.split()[-4] for line in parts[5].splitlines()[1:3]] == ["50", "100"]
    assert parts[5].endswith("\npictures fill 50% of the pixels of the examples")
    assert parts[6].startswith(
        "in reading them:\n  1 boxes reach out of their picture and are cut to it, as annotation 4"
    )
    assert parts[7] == "samples are drawn in seen/samples.png\n"
    with Image.open("seen/samples.png") as drawn:
        assert drawn.width > 1000 and len(drawn.convert("RGB").getcolors(10**6)) > 20


def test_data_with_classes(launch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cnn_jax.report.data.sheet", lambda *_: None)
    for number in range(5):
        painted(tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png", (8, 8), [(0, 0, 2, number + 1)])
    said = launch("describe", "folder(photos, channels=1)")
    assert said.code == 0 and said.out == (
        "folder:photos: images of 8x8x1, 2 classes\n\nall: 5 images\n\n"
        "class  images\ncat         3\ndog         2\n\nsamples are drawn in described/folder_photos/samples.png\n"
    )
    assert launch("describe", "folder:photos", "--input=8,8,3").err.startswith("error: --input is for models, 'folder:")
    assert launch("describe", "lenet5", "--out=x").err.startswith("error: --out is for the samples of data, 'lenet5'")
    assert launch("describe", "photos").err.startswith(
        "error: 'photos' is a folder: say folder:photos, or coco:, voc: or "
    )
    assert launch("describe", "folder:nowhere").err == (
        "error: folder:nowhere is not a folder: give the path that holds train/CLASS or CLASS folders\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "say one model"),
        (["lenet5", "lenet5_28"], "say one model"),
        (
            ["lenet6"],
            "unknown name 'lenet6': did you mean 'lenet5'? (launch.py list models shows them all; near are lenet5",
        ),
        (["nosuch"], "names are known (launch.py list models shows them all)"),
        (["lenet5(paddin=2)"], "LeNet has no field 'paddin': did you mean 'padding'?"),
        (["lenet5", "--input=32,32"], "'lenet5' reads examples such as 32x32x1, not 32x32"),
        (["lenet5", "--input=8,8,1"], "LeNet-5 reads [B, H, W, C] of size 16 or more"),
        (["lenet5", "--input=32,x,1"], "--input=32,x,1: write the shape of one example"),
        (["lenet5", "--input=32,0,1"], "--input=32,0,1: write the shape of one example"),
        (["lenet5", "--classes=0"], "classes"),
        (["lenet5", "--imput=32,32,1"], "unknown flag '--imput': did you mean '--input'?"),
        (["lenet5(act=3)"], "'lenet5(act=3)' does not work on examples of 32x32x1"),
        (["cosine"], "'cosine' is no published variant: say --input=H,W,C and --classes=N"),
        (["cosine", "--input=8,8,1", "--classes=2"], "'cosine' is no model"),
    ],
)
def test_mistakes_are_one_line(launch, words, text):
    said = launch("describe", *words)
    assert said.code == cli.BAD_INPUT and said.out == ""
    assert text in said.err and len(said.err.splitlines()) == 1


def test_it_is_quick():
    """A deep network, in a new process; CPU time, because the machine may be busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "launch.py", "describe", "resnet.resnet50"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "25,557,032" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4
