"""Any JSON, XML or text in the place of annotations: boxes inside of their pictures, or one line."""

import copy
import json
import random
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax.data.coco import coco
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import IGNORED
from cnn_jax.data.voc import voc
from cnn_jax.data.yolo import yolo
from tests.data.painted import coco_json, painted

SEEDS = st.integers(0, 2**32)
ODD: list[Any] = [None, True, -1, 0, 1, 2, 7, 2.5, 1e308, float("nan"), -float("inf"), 10**30, 2**63, -(2**63)]
ODD += [
    "",
    "a",
    "1",
    "../x",
    "/etc/passwd",
    "a\0b",
    "\ud800",
    "x" * 5000,
    "a.png",
    [],
    {},
    [1],
    {"id": 1},
    [1, 2, 3, 4],
]
WORDS = ["nan", "inf", "-3", "1e400", "", "abc", "\x00", "é", "<b/>", "&lt;", "&#0;", "&x;", "../../x", "9" * 30]
WORDS += ["1_0", "٣", "1.5", "-.2", "0", "2", "1e-9", "1e-320"]
YAML = ["names: 7", "names: [a, [b]]", "[1, 2]", "names: [1, 2]\ntrain: 7", "names: [a, b]\nval: /etc", ": :", "\t"]
YAML += [
    "x: &x [*x]\nnames: *x",
    "names: *z",
    "names: {0: null, 1: []}",
    "names: ['', b]",
    "? [a]\n: b",
    "names: {1: a, 0: b}",
]
OBJECT = "<object><name>cat</name><bndbox><xmin>3</xmin><ymin>2</ymin><xmax>8</xmax><ymax>7</ymax></bndbox></object>"
XML = f"<annotation><filename>a.png</filename><size><width>12</width><height>8</height></size>{OBJECT * 2}</annotation>"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder of four pictures, and of right annotations of three of them."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for letter in "abcd":
            painted(Path(name, f"{letter}.png"), (8, 12), [(2, 1, 8, 7)])
            Path(name, f"{letter}.xml").write_text(XML)
            Path(name, f"{letter}.txt").write_text("0 .5 .5 .4 .4")
        yield Path(name)


def answers(source: Callable[..., Splits], path: Path, **settings: object) -> None:
    try:
        splits = source(str(path), size=16, **settings)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return
    for split in splits.values():
        batch = split.batch(np.arange(len(split)))
        assert not any("\n" in note for note in split.spec.notes)
        if "class_map" in batch:
            assert ((batch["class_map"] < len(split.spec.classes)) | (batch["class_map"] == IGNORED)).all()
            continue
        if "instances" in batch:
            assert (batch["instances"] <= (batch["objects"] >= 0).sum(1)[:, None, None]).all()
        boxes = batch["boxes"][batch["objects"] >= 0]
        assert (boxes >= 0).all() and (boxes <= 16).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert np.isfinite(batch["areas"]).all()


def mutated(value: Any, draw: random.Random) -> Any:
    """JSON with one value replaced, removed or doubled."""
    paths: list[list[Any]] = []

    def walk(inner: Any, path: list[Any]) -> None:
        paths.append(path)
        for key in inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            walk(inner[key], [*path, key])

    walk(value, [])
    path = draw.choice(paths)
    if not path:
        return draw.choice(ODD)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    kind = draw.random()
    if kind < 0.7:
        holder[path[-1]] = copy.deepcopy(draw.choice(ODD))
    elif kind < 0.85 or isinstance(holder, dict):
        holder.pop(path[-1])
    else:
        holder.append(copy.deepcopy(holder[path[-1]]))
    return value


@given(SEEDS)
def test_coco(root: Path, seed: int) -> None:
    draw, file = random.Random(seed), root / "set.json"
    sizes = {f"{letter}.png": (8, 12) for letter in "abcd"}
    content: Any = coco_json(file, sizes, [(number, (1, 7)[number % 2], (2, 1, 6, 6)) for number in (1, 2, 3, 4)])
    regions = (
        [[2, 1, 8, 1, 8, 7, 2, 7]],
        {"size": [8, 12], "counts": [17, 6, 73]},
        {"size": [8, 12], "counts": "a06Y2"},
    )
    for annotation in content["annotations"]:
        annotation["segmentation"] = draw.choice(regions)
    for _ in range(draw.choice([1, 1, 2, 3])):
        content = mutated(content, draw)
    file.write_text(json.dumps(content))
    targets = draw.choice(["boxes", "instances", "class_map"])
    answers(coco, file, wrong_size=draw.choice(["keep", "scale", "error"]), targets=targets)


@given(SEEDS)
def test_voc(root: Path, seed: int) -> None:
    draw, text = random.Random(seed), XML
    for _ in range(draw.choice([1, 1, 2])):
        words = list(re.finditer(r">([^<>]+)<", text))
        if words and draw.random() < 0.7:
            word = draw.choice(words)
            text = text[: word.start(1)] + draw.choice(WORDS) + text[word.end(1) :]
        else:
            start = draw.randrange(len(text))
            text = text[:start] + text[start + draw.randrange(1, 30) :]
    (root / "a.xml").write_text(text)
    answers(voc, root, wrong_size="keep")


@given(SEEDS)
def test_yolo(root: Path, seed: int) -> None:
    draw = random.Random(seed)
    rows = [["1", ".5", ".5", ".4", ".4"] for _ in range(3)]
    for _ in range(draw.choice([0, 1, 2])):
        row = draw.choice(rows)
        row[draw.randrange(5)] = draw.choice(WORDS)
    (root / "a.txt").write_text("\n".join(map(" ".join, rows)))
    (root / "data.yaml").write_text(draw.choice(YAML) if draw.random() < 0.3 else "names: [cat, dog]")
    answers(yolo, root)
