"""look RUN: pages of what lies inside a network, on a tiny run and on a network whose units are known."""

import csv
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn_jax.config import Evaluate
from cnn_jax.data.digits import digits
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.splits import array_splits
from cnn_jax.launch.inside import concepts, pictures, units
from cnn_jax.launch.inside.looked import Asked, Looked
from cnn_jax.launch.inside.views import VIEWS
from cnn_jax.tasks.classify import classify
from cnn_jax.train.predictor import Opened, Predictor, compiler

pytestmark = pytest.mark.usefixtures("no_pictures")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_views_of_a_run_are_pages_with_tables(run: Path, launch, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pictures, "visualise", lambda f, shape, key, **_: jnp.zeros(shape))  # tested elsewhere
    test = digits()["test"]
    for name, label in (("fours", 4), ("others", -1)):
        (tmp_path / name).mkdir()
        chosen = np.flatnonzero((test.arrays["label"] == label) | (label < 0))[: 6 if label > 0 else 20]
        for row in chosen:
            Image.fromarray(test.arrays["image"][row, ..., 0]).save(tmp_path / name / f"{row}.png")
    four = next((tmp_path / "fours").iterdir())
    how = ("--layer=pooled", "--examples=40", f"--out={tmp_path / 'out'}")
    said = launch("look", run, "--show=examples,cka,influence", *how, "--units=3,5")
    assert said.code == 0, said.err
    assert "of 40 of 899 images, test split of digits" in said.out
    assert "TracIn over 2 checkpoints (steps 4, 6;" in said.out and "40 of 808 training examples" in said.out
    found = rows(tmp_path / "out" / "examples.csv")
    assert [row["unit"] for row in found] == ["unit 3", "unit 5"]
    behind = rows(tmp_path / "out" / "influence.csv")
    assert {row["spoke"] for row in behind} == {"for that", "against it"}
    influence = [float(row["influence"]) for row in behind[:6]]
    assert influence == sorted(influence, reverse=True) and influence[0] > 0
    assert rows(tmp_path / "out" / "cka.csv")[0]["pooled"].startswith("1.0")
    concept = (f"--concepts={tmp_path / 'fours'}", f"--random={tmp_path / 'others'}", "--target=4")
    said = launch("look", run, four, "--show=neighbours,tcav", *how[:1], "--examples=200", how[2], *concept)
    assert said.code == 0, said.err
    nearest = rows(tmp_path / "out" / "neighbours.csv")
    assert len(nearest) == 6 and float(nearest[0]["similarity"]) > 0.99
    (tested,) = rows(tmp_path / "out" / "tcav.csv")
    assert tested["concept"] == "fours" and float(tested["told from random"]) > 0.6
    said = launch("look", run, "--show=pictures", "--layer=logits", "--units=7", *how[1:])
    assert said.code == 0 and rows(tmp_path / "out" / "pictures.csv")[0]["unit"] == "7", said.err
    html = (tmp_path / "out" / "examples.html").read_text()
    assert html.count("data:image/png;base64,") == 2 and "Step 6" in html


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--show=exmples",), "did you mean 'examples'"),
        (("--show=examples", "--layer=poold"), "no layer 'poold': did you mean 'pooled'"),
        (("--show=examples", "--layer=pooled", "--units=99"), "no unit '99': they are numbered from 0 to 15"),
        (("--show=examples",), "no feature map with extent: name a layer"),
        (("--show=dissection", "--layer=pooled"), "'pooled' has no positions"),
        (("--show=filters",), "Net has no convolution"),
        (("--show=tcav",), "say folders of them"),
        (("--show=cka", "--data=folder:none"), "none is not a folder"),
        (("none.png", "--show=dream"), "none.png"),
        (("--show=list",), "takes no run"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run: Path, launch, words, says) -> None:
    said = launch("look", run, *words)
    assert said.code == 2 and says in said.err and "Traceback" not in said.err, said.err
    assert said.err.count("\n") <= 2


def test_views_are_listed(launch) -> None:
    said = launch("look", "--show=list")
    assert said.code == 0 and all(name in said.out for name in VIEWS)


class Known(nn.Module):
    """Its first unit is on where an image is red, its second where it is green."""

    classes: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        eye = lambda *_: jnp.eye(3, 2).reshape(1, 1, 3, 2)  # noqa: E731
        maps = nn.relu(nn.Conv(2, (1, 1), name="conv", kernel_init=eye, use_bias=False)(x))
        return nn.Dense(self.classes)(maps.mean((1, 2))), {"maps": maps}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    draw = np.random.default_rng(0)
    images, marks = np.zeros((12, 16, 16, 3), np.uint8), np.zeros((12, 16, 16), np.uint8)
    labels = np.arange(12, dtype=np.int32) % 2
    for row, (y, x) in enumerate(draw.integers(0, 12, (12, 2))):
        marks[row, y : y + 4, x : x + 4] = 1
        images[row, ..., labels[row]] = 255 * marks[row]
    source = array_splits(
        "marks", {"test": {"image": images, "label": labels, "marks": marks}}, ImagePrepare(channels=3),
        inputs={"image": "image"}, targets={"label": "label", "marks": "instance_map"}, classes=("red", "green"),
        licence="", citation="",
    )["test"]  # fmt: skip
    spec, model = source.spec, Known()
    task = classify(model, spec)
    variables = jax.device_get(task.init(jax.random.key(0)))
    predictor = Predictor(spec, model, task, variables, compiler(spec, jax.devices()[:1], "native"), 1)
    found = Looked(tmp_path_factory.mktemp("known"), Opened(predictor, 0, None, Evaluate()), Asked(data="marks"))
    found.__dict__["source"] = source
    return found


def test_dissection_names_the_unit_of_each_object_and_chance_none(looked: Looked) -> None:
    said, (table, shown) = units.dissection(looked)
    red, green = table.rows
    assert (red["best unit"], green["best unit"]) == (0, 1)
    assert red["its IoU"] > 3 * red["IoU by chance"] and green["its IoU"] > 3 * green["IoU by chance"]
    assert said[0].startswith("2 of 2 units of maps find an object") and len(shown.pictures) == 2


def test_concepts_dreams_and_filters_of_maps(looked: Looked) -> None:
    said, (part,) = concepts.own_concepts(looked)
    assert said[0].startswith("2 concepts give back 100%")
    assert {row["most common class"] for row in part.rows} == {"red", "green"}
    said, parts = pictures.filters(looked)
    assert said[0].startswith("2 filters of 1 x 1 positions and 3 channels in") and len(parts) == 3
    said, parts = pictures.dreams(looked)
    assert float(said[0].split(" is ")[1].split()[0]) > 1.2 and len(parts) == 2
