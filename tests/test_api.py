"""The project from Python: what docs/python.md shows runs, and is what the command line does."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax import api
from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.data.images import ORIENTATION
from cnn_jax.inspect.models import published
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant
from tests.commands.conftest import EXPERIMENT

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The current folder: an experiment that takes no time, trained, and two pictures."""
    folder = tmp_path_factory.mktemp("python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "experiments").mkdir()
        (folder / "experiments" / "digits.py").write_text(EXPERIMENT.replace('name="tiny"', 'name="digits"'))
        patch.setattr("cnn_jax.report.classify.figures", lambda *_: None)
        images = digits()["test"].arrays["image"]
        for name, image in zip(("digit", "another"), images[..., 0], strict=False):
            Image.fromarray(image).save(f"{name}.png")
        yield folder


BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE | re.DOTALL)


# What takes long in the examples, and what takes none: the gradient is traced, not compiled.
SHORT = {"resnet50": "lenet5", "5 epochs": "6 steps", "jax.grad(loss)(": "jax.eval_shape(jax.grad(loss), "}


@pytest.fixture(scope="module")
def said(here: Path) -> str:
    """What the examples of the page print; they leave runs/digits."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for block in (block for block in BLOCKS if "class_map" not in block):  # which test_segmentation.py runs
            for long, short in SHORT.items():
                block = block.replace(long, short)
            exec(compile(block, "docs/python.md", "exec"), {})
    return out.getvalue()


def test_the_examples_of_the_page_run(said: str) -> None:
    assert len(BLOCKS) == 8 and "runs/digits 0." in said


@pytest.fixture(scope="module")
def model(said: str) -> api.LoadedModel:
    return cnn_jax.load("runs/digits")


def test_results_are_those_of_the_command_line(model: api.LoadedModel, launch: Callable) -> None:
    said = launch("predict", "runs/digits", "digit.png", "another.png", "--json=-", "--top=10")
    expected = [example["predictions"] for example in json.loads(said.out)]
    found = model.predict(["digit.png", Path("another.png")])
    for result, rows in zip(found, expected, strict=True):
        assert result.names == tuple(row["class"] for row in rows)
        np.testing.assert_allclose(result.probabilities, [row["probability"] for row in rows], rtol=1e-6)
    assert model.predict("digit.png").names == found[0].names and model.classes == tuple("0123456789")
    assert model.step == 6 and model.config.duration == "6 steps"


def test_pictures_and_arrays_of_the_same_pixels_have_the_same_result(model: api.LoadedModel) -> None:
    pixels = np.asarray(Image.open("digit.png"))
    expected = model.predict("digit.png")
    same = [pixels, pixels[..., None], Image.open("digit.png")]
    for one in same:
        np.testing.assert_array_equal(model.predict(one).probabilities, expected.probabilities)
    several = model.predict(np.stack([pixels[..., None]] * 3))
    assert [result.names for result in several] == [expected.names] * 3
    assert model.predict([]) == []
    turned = Image.open("digit.png").transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[ORIENTATION] = 6  # as a telephone writes it
    turned.save("turned.png", exif=turned.getexif())
    for one in ("turned.png", Image.open("turned.png")):
        np.testing.assert_array_equal(model.predict(one).probabilities, expected.probabilities)
    wide = np.pad(pixels, ((0, 0), (4, 4)))
    np.testing.assert_allclose(model.predict(wide, convert=True).probabilities, expected.probabilities, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("nowhere.png", "there is no file 'nowhere.png'"),
        (["digit.png", "nowhere.png"], "there is no file 'nowhere.png'"),
        (np.zeros((8, 8, 1)), "an image is an array of float64: give bytes (uint8) of 0 to 255"),
        (
            np.zeros((9, 8), np.uint8),
            "an image is (9, 8, 1), the run was trained on (8, 8, 1)",
        ),
        (np.zeros((3, 8, 8), np.uint8), "give [H, W, C] with 1, 3 or 4 channels"),
        ("experiments", "it is a folder: give the files in it"),
        (b"bytes of a file", "an input is of the type bytes: give a path, a picture of Pillow, an array or a list"),
        (None, "an input is of the type NoneType"),
        ({"digit.png": 1}, "an input is of the type dict"),
        (Image.new("I;16", (8, 8)), "has more than 8 bits a channel (mode I;16): give its file"),
    ],
)
def test_what_cannot_be_read_is_one_line(model: api.LoadedModel, value: object, says: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(says)) as error:
        model.predict(value)
    assert "\n" not in str(error.value)


def test_features_are_those_of_the_module_and_are_compiled_once(model: api.LoadedModel) -> None:
    images = digits()["test"].arrays["image"][:3]
    prepare = model.predictor.spec.prepare
    read = (images / np.float32(255) - np.float32(prepare.mean)) / np.float32(prepare.std)
    _, expected = model.predictor.model.apply(model.predictor.variables, read, train=False)
    found = model.features(images, "pooled")
    np.testing.assert_allclose(found, expected["pooled"], rtol=1e-4, atol=1e-5)
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
    again = model.features(images[1:], "pooled")
    np.testing.assert_allclose(again, found[1:], rtol=1e-6)
    one = model.features("another.png")
    assert one.keys() == {"pooled"} and one["pooled"].shape == found[1].shape
    before = [event for event in compiled if event.endswith("backend_compile_duration")]
    model.features("digit.png"), model.features(images[2:], "pooled")
    assert [event for event in compiled if event.endswith("backend_compile_duration")] == before
    with pytest.raises(ValueError, match="no feature map 'poled': did you mean 'pooled'?"):
        model.features("digit.png", "poled")


def mine() -> Experiment:
    return Experiment(
        name="mine",
        data=Data(source=digits, batch_size=16, validation=0.0),
        model=Model(build=partial(small_cnn, features=(), hidden=8), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=constant),
        augment=identity,
        duration="2 steps",
        compute=Compute(devices=1),
    )


def test_an_experiment_made_in_python_is_trained_and_resumed(here: Path, launch: Callable) -> None:
    experiment = mine()
    done = cnn_jax.train(experiment, "runs/made", **{"optim.lr": 0.1, "optim.build": "sgd(momentum=0.5)"})
    assert done.folder == Path("runs/made") and 0 <= done.scores["top1"] <= 1
    config = json.loads((done.folder / "config.json").read_text())
    assert config["optim"]["lr"] == 0.1 and "momentum=0.5" in config["optim"]["build"]
    assert experiment.optim.lr == 0.05 and not (done.folder / "experiment.py").exists()
    again = cnn_jax.train(experiment, "runs/made", **{"optim.lr": 0.1, "optim.build": "sgd(momentum=0.5)"})
    assert again.scores["top1"] == done.scores["top1"]
    assert cnn_jax.load(done.folder, "last").step == cnn_jax.load(done.folder, 2).step == 2
    with pytest.warns(UserWarning, match="no checkpoint in 'runs/made/checkpoints' was validated: the last one"):
        assert cnn_jax.load(done.folder, "best").step == 2
    assert launch("predict", done.folder, "digit.png", "--draw=0").code == 0


def test_what_a_notebook_defines_has_no_name_to_record(here: Path) -> None:
    def net(classes: int, dtype: object) -> object:
        raise AssertionError

    experiment = mine()
    for wrong, says in (
        (replace(experiment, model=Model(build=net, task=classify)), "has no name to record"),
        ("nowhere", "there is no experiment 'nowhere'"),
        (3, "3 is no experiment"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
            cnn_jax.train(wrong, "runs/wrong")
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="unknown field 'optim.lrr': did you mean 'optim.lr'?"):
        cnn_jax.train(experiment, "runs/wrong", **{"optim.lrr": 1})
    with pytest.raises(ValueError, match="duration = 'long' must be a duration"):
        cnn_jax.train(experiment, "runs/wrong", duration="long")
    assert not Path("runs/wrong").exists()
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        cnn_jax.load("experiments")
    with pytest.raises(ValueError, match="checkpoint=lsat: say last, best or a step"):
        cnn_jax.load("runs/made", "lsat")


def test_a_model_takes_weights_and_draws_another_last_layer(here: Path, recwarn: pytest.WarningsRecorder) -> None:
    module, drawn = cnn_jax.create_model("lenet5", seed=1)
    assert drawn["params"]["classifier"]["kernel"].shape == (84, 10) and module.classes == 10
    other = cnn_jax.create_model("lenet5", seed=2)[1]
    assert not np.array_equal(drawn["params"]["c1"]["kernel"], other["params"]["c1"]["kernel"])
    weights = "runs/made"  # of the experiment above
    _, kept = cnn_jax.create_model("small_cnn", weights=weights, features=(), hidden=8)
    variables = cnn_jax.load(weights).predictor.variables
    assert jax.tree.all(jax.tree.map(np.array_equal, kept, jax.tree.map(np.asarray, variables)))
    assert not recwarn
    module, new = cnn_jax.create_model("small_cnn", weights=weights, classes=3, features=(), hidden=8)
    assert [str(one.message) for one in recwarn] == [
        "the last layer of small_cnn is drawn anew for 3 classes: 'runs/made' is for 10"
    ]
    logits, _ = module.apply(new, np.zeros((2, 8, 8, 1), np.float32), train=False)
    assert logits.shape == (2, 3)
    np.testing.assert_array_equal(new["params"]["hidden"]["kernel"], kept["params"]["hidden"]["kernel"])
    backbone, part = cnn_jax.create_model("small_cnn", weights=weights, classes=None, features=(), hidden=8)
    assert isinstance(backbone.apply(part, np.zeros((1, 8, 8, 1), np.float32), train=False), dict)
    for words, says in (
        (dict(name="small_cnn", weights=weights), "holds weights of another model than small_cnn"),
        (dict(name="lenet6"), "unknown name 'lenet6'"),
        (dict(name="lenet5", weights="nowhere.pth"), "there is no file 'nowhere.pth'"),
        (dict(name="lenet5", nrm=1), "has no field 'nrm'"),
        (dict(name="lenet5", classes=0), "classes = 0: give a number above 0"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(says)):
            cnn_jax.create_model(**words)


def test_models_are_listed_without_jax() -> None:
    assert sorted(cnn_jax.list_models()) == sorted(name.partition(".")[2] for name in published())
    assert cnn_jax.list_models("mobilenet_v2*") == [name for name in cnn_jax.list_models("mobilenet_v2")]
    assert cnn_jax.list_models("regnet.regnet_y_4*") and cnn_jax.list_models("LeNet5_28") == ["lenet5_28"]
    with pytest.raises(ValueError, match="no model's name is like 'lenet6': did you mean 'lenet5'?"):
        cnn_jax.list_models("lenet6")


QUICK = """
import sys, time
start = time.process_time()
import cnn_jax
spent = time.process_time() - start
assert {"load", "train", "create_model", "list_models"} <= set(dir(cnn_jax)) & set(cnn_jax.__all__)
names = cnn_jax.list_models("mobilenet*")
print(spent, len(names), sorted({"jax", "numpy", "flax"} & sys.modules.keys()), callable(cnn_jax.train))
"""


def test_training_in_another_thread_is_one_line(here: Path) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="only the main thread of a process can train"):
        pool.submit(cnn_jax.train, "digits", "runs/thread", duration="1 steps").result()
    assert not Path("runs/thread").exists()


def test_the_import_takes_no_time() -> None:
    said = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    spent, count, heavy = said.split(maxsplit=2)
    assert float(spent) < 0.1 and int(count) > 5 and heavy.strip() == "[] True"
