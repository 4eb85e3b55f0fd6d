"""Every experiment says what it is and can be built; and a newcomer's own experiment goes all the way."""

import inspect
import json
import re
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image

from cnn_jax import config as configuration
from cnn_jax.batch import Batch, abstract
from cnn_jax.data.source import opened
from cnn_jax.launch import cli, experiment_file
from cnn_jax.lookup import load_file
from cnn_jax.train.checks import check_augment
from cnn_jax.train.predictor import make_model
from cnn_jax.train.steps import steps_of

ROOT = Path(__file__).parents[1]
FEW = {"train": 200, "test": 10}
KEY = jax.eval_shape(lambda: jax.random.key(0))
FILES = [path for path in sorted((ROOT / "experiments").glob("*.py")) if "def experiment(" in path.read_text()]
FULL_SCALE = sorted((ROOT / "experiments" / "full_scale").glob("*.py"))
TABLES = [
    path for path in sorted((ROOT / "experiments").glob("*.py")) if experiment_file.rows_in(path) and path not in FILES
]
ROWS = [(path, name) for path in (*FILES, *TABLES, *FULL_SCALE) for name in experiment_file.rows_in(path)]


@pytest.fixture(autouse=True)
def no_experiment_left(monkeypatch):
    monkeypatch.setitem(sys.modules, "experiment", None)


def test_there_are_experiments():
    assert "digits.py" in [path.name for path in FILES]


@pytest.mark.parametrize("path", [*FILES, *TABLES, *FULL_SCALE], ids=lambda path: path.name)
def test_the_docstring_says_what_to_expect(path):
    about = experiment_file.described(path)
    assert about.keys() == {"title", "reproduces", "command", "time", "expected"}
    assert all(about.values())
    word = f"train experiments/{path.name}" if path in FILES else f"reproduce {path.stem}"
    assert f"launch.py {word}" in about["command"]


def test_rows_state_a_score_of_the_paper_and_have_folders_of_their_own():
    assert len([path for path, _ in ROWS if path not in FULL_SCALE]) >= 12 and len(FULL_SCALE) == 7
    names = list[str]()
    for path, row in ROWS:
        made, title = experiment_file.load_row(path, row)
        paper = made.paper
        assert title and paper.source and paper.protocol, f"{path.name}, {row}"
        assert 0 < paper.value < 1 and 0 < paper.margin <= 0.06 and made.seeds > 1
        assert made.here == (path not in FULL_SCALE)
        names.append(made.experiment.name)
    assert len(set(names)) == len(names)


_before = set(flags.FLAGS)
FULL = load_file(str(ROOT / "experiments" / "benchmarks" / "full_scale.py"))
for _name in set(flags.FLAGS) - _before:  # other scripts have such names
    delattr(flags.FLAGS, _name)


@pytest.mark.parametrize("path", FULL_SCALE, ids=lambda path: path.name)
def test_a_step_of_full_scale_can_be_traced(path):
    """Model, task and augmentation on the true shapes; experiments/benchmarks/full_scale.py takes such steps."""
    config, (spec, examples) = FULL.experiment(path), FULL.MOCKED[path.stem]
    configuration.check(config)
    steps = steps_of(config, examples)
    rates = config.optim.schedule(config.optim.lr, steps.total, steps.total // 20)
    assert 0 <= float(rates(steps.total - 1)) < float(rates(steps.total // 4)) < 1.001 * config.optim.lr
    task = config.model.task(make_model(config.model, config.compute.precision, spec), spec)

    def loss(key: jax.Array, batch: Batch) -> jax.Array:
        keys = jax.random.split(key, batch.size)
        return task.loss(task.init(key), config.augment(keys, batch.scaled()), key, True)[0]

    assert jax.eval_shape(loss, KEY, abstract(spec.fields, 2)).shape == ()


CONFIGURED = [*((path, "") for path in FILES), *((path, row) for path, row in ROWS if path in TABLES)]


@pytest.mark.parametrize(("path", "row"), CONFIGURED, ids=lambda value: getattr(value, "name", value))
def test_the_configuration_holds_and_the_model_fits_the_data(path, row):
    config = experiment_file.load_row(path, row)[0].experiment if row else load_file(str(path)).experiment()
    configuration.check(config)
    assert config.name and re.fullmatch(r"[a-z0-9_]+", config.name)
    source = config.data.source
    home = inspect.getmodule(getattr(source, "func", source))
    if missing := getattr(home, "available", lambda: "where, only its owner knows")():
        pytest.skip(f"{source} is not here: {missing}")
    # Scenes are composed when they are first opened: a few have the same fields.
    known = inspect.signature(source).parameters
    few = {n: count for n, count in FEW.items() if n in known and isinstance(known[n].default, int)}
    spec = opened(partial(source, **few), validation=config.data.validation)["train"].spec
    task = config.model.task(make_model(config.model, config.compute.precision, spec), spec)
    outputs = jax.eval_shape(lambda key, batch: task.predict(task.init(key), batch), KEY, abstract(spec.fields, 2))
    assert outputs and all(array.shape[0] == 2 for array in outputs.values())
    check_augment(config.augment, spec, 2, task)


MINE = '''"""My own pictures.

Reproduces: nothing yet.
Command: python launch.py train mine.py
Time: seconds.
Expected: all right.
"""

from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Experiment, Model, Optim
from cnn_jax.data.folder import folder
from cnn_jax.models.small_cnn import SmallCNN
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def my_net(classes: int, dtype: Any) -> nn.Module:
    return SmallCNN(classes=classes, features=(8,), hidden=8, dropout=0.0, dtype=dtype)


def experiment() -> Experiment:
    return Experiment(
        name="mine",
        data=Data(source=partial(folder, path="SOURCE", size=8), batch_size=8),
        model=Model(build=my_net, task=classify),
        optim=Optim(build=adamw, lr=0.02, schedule=cosine),
        augment=identity,
        duration="30 steps",
        compute=Compute(devices=1),
    )
'''


def test_a_newcomer_trains_on_their_own_pictures(tmp_path, monkeypatch, capsys):
    """Red squares against blue ones, of differing sizes; afterwards the run folder is all that is needed."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for number in range(60):
        pixels = draw.integers(100, size=(*draw.integers(8, 20, size=2), 3))
        pixels[..., 0 if number % 2 else 2] += 150
        path = Path("pictures") / ("red" if number % 2 else "blue") / f"{number}.{'jpg' if number % 3 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    Path("mine.py").write_text(MINE.replace("SOURCE", "pictures"))
    assert cli.main(["train", "mine.py"]) == 0
    assert configuration.from_json(read("runs/mine/config.json")).model.build.__name__ == "my_net"
    assert read("runs/mine/config.json")["model"]["build"] == "experiment.my_net"
    assert read("runs/mine/results.json")["test"]["top1"] >= 0.9

    Path("mine.py").unlink()
    del sys.modules["experiment"]
    capsys.readouterr()
    assert cli.main(["eval", "runs/mine"]) == 0
    assert "12 images, test split of folder:pictures" in capsys.readouterr().out
    assert cli.main(["predict", "runs/mine", "pictures/red/1.jpg", "pictures/blue/0.png"]) == 0
    said = re.findall(r"^(\S+)\n +[\d.]+%  (\S+)", capsys.readouterr().out, re.MULTILINE)
    assert said == [("pictures/red/1.jpg", "red"), ("pictures/blue/0.png", "blue")]
    drawn = Path("runs/mine/predictions/pictures")
    assert sorted(path.name for path in drawn.glob("*/*")) == ["0.png.predicted.png", "1.jpg.predicted.png"]


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())
