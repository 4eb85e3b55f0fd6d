"""A predictor: what serves a model is what trained it, and needs neither optimizer, nor data, nor the experiment."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.files import read_example
from cnn_jax.data.folder import folder
from cnn_jax.data.placement import Placement
from cnn_jax.data.source import opened
from cnn_jax.data.spec import Field
from cnn_jax.launch import cli
from cnn_jax.models.lenet import lenet5_28
from cnn_jax.tasks.classify import classify
from cnn_jax.train import run as run_of
from cnn_jax.train.evaluate import evaluate
from cnn_jax.train.predictor import Predictor, load, predict, read_config, said_of_each
from cnn_jax.train.run import assemble
from cnn_jax.train.state import create
from cnn_jax.weights import imported

EXPERIMENT = """
from functools import partial
from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.folder import folder
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant

def experiment():
    return Experiment(
        name="plain",
        data=Data(source=partial(folder, path="DATA", size=(8, 12), channels=1), validation=0.0, batch_size=4),
        model=Model(build=partial(small_cnn, features=(4,), hidden=4, dropout=0.0), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=constant),
        augment=identity,
        duration="2 steps",
        evaluate=Evaluate(every="0 steps", test="never"),
        save_every="0 steps",
        compute=Compute(devices=1),
    )
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 JPEGs of two classes, all of different sizes, one of them lying on its side."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(24):
        height, width = 20 + 3 * number, 90 - 2 * number
        smooth = np.cumsum(draw.normal(size=(height, width, 3)), axis=1) * 12 + 128
        path = root / "train" / ("left" if number % 2 else "right") / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 4 else 1
        Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(path, quality=90, exif=exif)
    shutil.copytree(root / "train", root / "test")
    return root


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose configuration names nothing that its own file defines."""
    root = tmp_path_factory.mktemp("plain")
    (root / "plain.py").write_text(EXPERIMENT.replace("DATA", str(pictures)))
    assert cli.main(["train", str(root / "plain.py"), f"--workdir={root / 'run'}"]) == 0
    return root / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return cli.main([str(word) for word in words]), *capsys.readouterr()

    return call


@pytest.mark.parametrize("resize", ["crop", "letterbox", "stretch"])
def test_a_file_has_the_logits_of_the_training_path_bit_for_bit(trained: Path, pictures: Path, resize: str) -> None:
    """The pixels that training reads by the hundred, and those of one file alone, are the same ones."""
    predictor = load(trained, devices=jax.devices()[:1]).predictor
    source = opened(partial(folder, path=str(pictures), size=(8, 12), channels=1, resize=resize, crop=0.8))["train"]
    predictor = predictor._replace(spec=source.spec)
    batch = source.batch(np.arange(len(source)))
    files = sorted((pictures / "train").rglob("*.jpg"), key=lambda path: (path.parent.name, path.name))
    alone = [read_example(path, predictor.spec)[0] for path in files]
    np.testing.assert_array_equal(np.stack(alone), batch["image"])
    by_batch = predict(predictor, {"image": batch["image"]}, batch_size=8)["logits"]
    by_file = predict(predictor, {"image": np.stack(alone)}, batch_size=8)["logits"]
    assert by_file.tobytes() == by_batch.tobytes() and np.ptp(by_batch) > 0
    kept: list[np.ndarray] = []
    evaluate(predictor, source, 8, lambda outputs, _: kept.append(outputs["logits"]))
    np.testing.assert_allclose(np.concatenate(kept), by_batch, rtol=1e-6, atol=1e-7)


def test_the_preparation_of_the_run_is_the_one_that_is_used(trained: Path, pictures: Path) -> None:
    spec = load(trained).predictor.spec
    today = opened(partial(folder, path=str(pictures), size=(8, 12), channels=1))["train"].spec
    assert replace(spec, notes=()) == replace(today, notes=())
    assert spec.prepare.size == (8, 12) and spec.input.shape == (8, 12, 1)


@pytest.fixture
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever builds an optimizer or a step raises."""

    def refuse(lr: object = None, weight_decay: object = None, *_: object, **__: object) -> None:
        raise AssertionError("that belongs to training")

    for name in ("cnn_jax.train.optim.sgd", "cnn_jax.train.mesh.build", "cnn_jax.train.run.assemble"):
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr(run_of, "assemble", refuse)
    yield


def test_predict_and_eval_need_neither_optimizer_nor_training_data(
    run: Path, pictures: Path, launch: Call, nothing_is_trained: None, tmp_path: Path
) -> None:
    (run / "experiment.py").unlink()
    config = json.loads((run / "config.json").read_text())
    config["data"]["source"] = config["data"]["source"].replace(str(pictures), "/gone")
    (run / "config.json").write_text(json.dumps(config))
    code, out, err = launch("predict", run, pictures / "train" / "left" / "01.jpg")
    assert code == 0 and err == "" and "%" in out
    code, out, err = launch("eval", run, f"--data=folder:{pictures}")
    assert (
        code == 0 and err == "" and "48 images, all of" in out
    )  # brought to 8 x 12 grey pixels, as the training data was
    code, _, err = launch("eval", run)
    assert code == 2 and err.startswith("error: folder:/gone is not a folder") and err.count("\n") == 1


def test_examples_of_different_shapes_are_computed_by_shape() -> None:
    """Each with where its picture lies, in the order in which they are given; those of one shape together."""
    inputs = {"image": Field("image", (64, 64, 1), "float32"), "placement": Field("placement", (6,), "float32")}
    seen = []

    def compiled(function: Any) -> Any:
        def call(variables: Any, batch: Any) -> Any:
            seen.append(batch["image"].shape)
            return {"mean": batch["image"].mean((1, 2, 3)), "placement": batch["placement"]}

        return call

    spec: Any = SimpleNamespace(inputs=inputs, input=inputs["image"])
    predictor = Predictor(spec, None, None, {}, compiled, 1)  # type: ignore[arg-type]
    shapes = [(32, 64, 1), (64, 32, 1), (32, 64, 1), (32, 64, 1)]
    examples = [(np.full(shape, i, np.float32), Placement((9 + i, 9), shape[:2])) for i, shape in enumerate(shapes)]
    found = said_of_each(predictor, None, [*examples, (np.zeros((64, 32, 1), np.float32), None)])  # type: ignore[arg-type]
    assert [row["mean"] for row in found] == [0, 1, 2, 3, 0]
    assert [row["placement"][4] for row in found] == [9, 10, 11, 12, 64]
    assert seen == [(4, 32, 64, 1), (2, 64, 32, 1)]


def test_an_imported_model_is_a_predictor(
    pictures: Path, launch: Call, nothing_is_trained: None, tmp_path: Path
) -> None:
    source = opened(partial(folder, path=str(pictures), size=28, channels=1))["train"]
    variables = jax.jit(lambda key, x: lenet5_28(classes=2).init(key, x, train=False))(
        jax.random.key(0), np.zeros((1, 28, 28, 1), np.float32)
    )
    imported.create(tmp_path / "net", lenet5_28, classify, variables, source.spec)
    names = {path.name for path in (tmp_path / "net").iterdir() if path.is_file() and path.name != ".lock"}
    assert names == {"predictor.json", "data.json", "versions.json", "variables.safetensors"}
    found = load(tmp_path / "net")
    assert found.config is None and found.step == 0 and found.predictor.spec == source.spec
    code, out, err = launch("predict", tmp_path / "net", pictures / "train" / "left" / "01.jpg")
    assert code == 0 and err == "" and "%" in out
    code, out, err = launch("eval", tmp_path / "net", f"--data=folder:{pictures}")
    assert code == 0 and err == "" and "48 images, all of" in out
    (tmp_path / "net" / "predictor.json").write_text('{"model": 3}')
    code, _, err = launch("predict", tmp_path / "net", pictures / "train" / "left" / "01.jpg")
    assert code == 2 and err.count("\n") == 1 and "predictor.json' is damaged" in err


HOSTILE = """
from pathlib import Path

Path(__file__).with_name("executed").touch()
"""


def test_the_experiment_is_executed_only_where_the_configuration_names_something_in_it(
    run: Path, pictures: Path, launch: Call
) -> None:
    (run / "experiment.py").write_text(HOSTILE)
    for words in (("predict", run, pictures / "train" / "left" / "01.jpg"), ("eval", run)):
        code, _, err = launch(*words)
        assert code == 0 and err == "" and not (run / "executed").exists()
    config = json.loads((run / "config.json").read_text())
    # As a folder's name it is no function in the file.
    source = "cnn_jax.data.folder.folder(path='experiment.d/experiment.py')"
    (run / "config.json").write_text(json.dumps({**config, "data": {**config["data"], "source": source}}))
    assert read_config(run) is not None and not (run / "executed").exists()
    for change in (
        {"augment": "experiment.mine"},
        {"augment": "cnn_jax.augment.compose.apply_all(stages=(experiment.mine(strength=2),))"},
        {"augment": "flip(probability=experiment.mine)"},
    ):
        (run / "config.json").write_text(json.dumps({**config, **change}))
        code, _, err = launch("eval", run)
        assert err.count("\n") == 2 and f"warning: '{run}/experiment.py' is run, because config.json names" in err
        assert code == 2 and "'experiment' offers no part 'mine'" in err and (run / "executed").exists()
        (run / "executed").unlink()


def test_an_experiment_outside_the_run_folder_is_not_run(run: Path, tmp_path: Path, launch: Call) -> None:
    config = json.loads((run / "config.json").read_text())
    (tmp_path / "other.py").write_text(HOSTILE)
    (run / "experiment.py").unlink()
    (run / "config.json").write_text(json.dumps({**config, "augment": "experiment.mine"}))
    code, _, err = launch("eval", run)
    assert code == 2 and err.count("\n") == 1 and "experiment.py', which is not there" in err
    (run / "experiment.py").symlink_to(tmp_path / "other.py")
    code, _, err = launch("eval", run)
    assert code == 2 and err.count("\n") == 1 and "outside the run folder, which is not run" in err
    assert not list(tmp_path.rglob("executed"))


def test_nothing_is_written_through_a_link(run: Path, pictures: Path, launch: Call, tmp_path: Path) -> None:
    """In a stranger's run folder it may lead to any file of the user's."""
    picture, mine = pictures / "train" / "left" / "01.jpg", tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("precious")
    links = {
        "predictions": mine,
        "predictions/01.png": mine / "file",
        "predictions/other.png": mine / "new",
        "evaluations": mine,
        "evaluations/test-step2": mine,
        "evaluations/test-step2/tables.npz": mine / "file",
        "evaluations/test-step2/scores.json.tmp": mine / "new",
        "evaluations/test-step2/outputs": mine,
    }
    for name, target in links.items():
        shutil.rmtree(run / name.partition("/")[0], ignore_errors=True)
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).symlink_to(target)
        code, _, err = launch(*(("eval", run) if name.startswith("eval") else ("predict", run, picture)))
        assert code == 2 and err.count("\n") == 1 and "is a link, through which nothing is written" in err, name
        assert [path.name for path in mine.iterdir()] == ["file"] and (mine / "file").read_text() == "precious"
        (run / name).unlink()


@pytest.mark.parametrize(
    ("field", "text", "runs"),
    [
        ("evaluate.also", "elsewhere(source='experiment.mine')", True),  # a description within a text
        ("evaluate.also", "several(elsewhere(source='tfds(\\'a\\', corrupt=experiment.mine)'))", True),
        ("name", "experiment.mine", False),  # no function
        ("transfer.weights", "experiment.npz", False),
        ("data.source", "folder:experiment.d", False),
        ("data.source", "folder(path='experiment.d')", False),
    ],
)
def test_hidden_ways_to_the_experiment_are_seen(run: Path, field: str, text: str, runs: bool) -> None:
    (run / "experiment.py").write_text(HOSTILE)
    config = json.loads((run / "config.json").read_text())
    *groups, name = field.split(".")
    (config[groups[0]] if groups else config)[name] = text
    (run / "config.json").write_text(json.dumps(config))
    try:
        with pytest.warns(UserWarning, match="experiment.py' is run") if runs else nullcontext():
            read_config(run)
    except ValueError:
        pass
    assert (run / "executed").exists() == runs


def test_the_state_of_a_run_and_its_folder_predict_the_same(trained: Path, pictures: Path) -> None:
    """From the checkpoint come the variables that the run would evaluate now."""
    source = opened(partial(folder, path=str(pictures), size=(8, 12), channels=1))["train"]
    config = read_config(trained)
    assert config is not None
    run = assemble(config, source.spec, len(source))
    variables = load(trained).predictor.variables
    state = create(jax.tree.map(np.asarray, variables), run.optimizer, ema=False, loss_scale=False)
    images = source.batch(np.arange(8))["image"]
    here = predict(run_of.predictor_of(run, run.engine.place(state)), {"image": images})["logits"]
    there = predict(load(trained, devices=jax.devices()[:1]).predictor, {"image": images})["logits"]
    np.testing.assert_array_equal(here, there)
