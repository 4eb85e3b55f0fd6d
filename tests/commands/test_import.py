"""import: published weights become a run folder that predict and eval take; what does not fit leaves none."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax.models.squeezenet import squeezenet1_1
from cnn_jax.models.variant import Preprocessing
from cnn_jax.train.predictor import load
from cnn_jax.weights import files, hub
from cnn_jax.weights.convert import tensor_shapes, to_variables
from cnn_jax.weights.names.squeezenet import torchvision
from cnn_jax.weights.parity import all_made_up

SIZE = 40  # squeezenet takes any; a small one compiles and runs quickly
IMAGES = Preprocessing(size=SIZE, crop=0.8, mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1), interpolation="bicubic")
CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    shapes = tensor_shapes(squeezenet1_1(classes=len(CLASSES)), (SIZE, SIZE, 3), torchvision)
    return all_made_up(shapes, calm=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, np.ndarray]) -> Path:
    """The current folder, with weights.safetensors and classes.txt; images are prepared as IMAGES says."""
    monkeypatch.chdir(tmp_path)
    files.write("weights.safetensors", tensors)
    Path("classes.txt").write_text("\n".join(CLASSES) + "\n")
    variant = squeezenet1_1
    before = variant.preprocessing
    object.__setattr__(variant, "preprocessing", IMAGES)  # frozen, and known by identity
    yield tmp_path
    object.__setattr__(variant, "preprocessing", before)


def test_predict_and_eval_take_the_folder(here, launch, write_images, tensors, no_pictures):
    said = launch("import", "squeezenet1_1", "weights.safetensors", "--classes=classes.txt", "--workdir=run")
    assert said.code == 0 and said.err == ""
    count = sum(array.size for array in tensors.values())
    assert f"squeezenet1_1: {count:,} parameters, 3 classes, named as by torchvision" in said.out
    assert "images: short side to 50 pixels (bicubic), 40x40 from the centre" in said.out

    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("picture.png")
    said = launch("predict", "run", "picture.png")  # of any size
    assert said.code == 0
    short_side = Image.fromarray(pixels).resize((50, 50), Image.Resampling.BICUBIC, box=(10, 0, 80, 70))
    image = np.asarray(short_side)[5:45, 5:45] / 255
    variables = to_variables(squeezenet1_1(classes=3), (SIZE, SIZE, 3), tensors, torchvision)
    read = ((image - IMAGES.mean) / IMAGES.std).astype(np.float32)[None]
    logits, _ = jax.jit(lambda v, x: squeezenet1_1(classes=3).apply(v, x, train=False))(variables, read)
    for name, probability in zip(CLASSES, np.asarray(jax.nn.softmax(logits[0])), strict=True):
        assert f"{probability:7.2%}  {name}" in said.out

    assert "say on which data" in launch("eval", "run").err
    write_images(here / "test", CLASSES, count=2, mode="RGB")
    said = launch("eval", "run", f"--data=folder:{here / 'test'}")
    assert said.code == 0, said.err
    write_images(here / "other", ("ant", "dog"), count=2, mode="RGB")
    assert "has other classes" in launch("eval", "run", f"--data=folder:{here / 'other'}").err


def test_the_folder_says_what_it_is(here, launch):
    assert launch("import", "squeezenet1_1", "weights.safetensors").code == 0
    folder = here / "runs" / "squeezenet1_1"
    assert json.loads((folder / "predictor.json").read_text()) == {
        "model": "cnn_jax.models.squeezenet.squeezenet1_1",
        "task": "cnn_jax.tasks.classify.classify",
    }
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {"predictor.json", "data.json", "versions.json", "variables.safetensors"}
    opened = load(folder)
    spec = opened.predictor.spec
    assert opened.step == 0 and opened.config is None and spec.classes == ("0", "1", "2")
    assert spec.input.shape == (SIZE, SIZE, 3) and spec.prepare.size == (SIZE, SIZE)
    assert (spec.prepare.mean, spec.prepare.std) == (IMAGES.mean, IMAGES.std)
    assert (spec.prepare.crop, spec.prepare.interpolation) == (IMAGES.crop, IMAGES.interpolation)
    assert "is not empty: choose another --workdir" in launch("import", "squeezenet1_1", "weights.safetensors").err


def test_what_does_not_fit_leaves_no_folder(here, launch, tensors):
    def refused(*words: str) -> str:
        said = launch("import", *words, "--workdir=run")
        assert said.code == 2 and said.err.startswith("error: ") and said.err.count("\n") == 1
        assert not Path("run").exists()
        return said.err

    weights = "weights.safetensors"
    assert "say a model and a file" in refused("squeezenet1_1")
    assert "did you mean 'squeezenet1_1'?" in refused("squeezenet1_2", weights)
    assert "'flip' is no published model" in refused("flip", weights)
    assert "there is no file 'nowhere.pth'" in refused("squeezenet1_1", "nowhere.pth")
    assert "no published weights are known for the models of small_cnn" in refused("small_cnn.small_cnn", weights)
    assert "reads signals" in refused("mnist1d_cnn.conv_base", weights)
    assert "not those of the model (missing: " in refused("resnet18", weights)
    assert "not those of the model (missing: " in refused("squeezenet1_0", weights)
    files.write("wide.npz", tensors | {"features.0.bias": np.ones(65, np.float32)})
    assert "features.0.bias is [65], which does not fit stem_conv/bias [64]" in refused("squeezenet1_1", "wide.npz")

    Path("two.txt").write_text("ant\nbee\n")
    assert "'two.txt' has 2 names, the weights are for 3 classes" in refused(
        "squeezenet1_1", weights, "--classes=two.txt"
    )
    Path("twice.txt").write_text("ant\nbee\nant\n")
    assert "the name 'ant' stands for two classes" in refused("squeezenet1_1", weights, "--classes=twice.txt")
    Path("blank.txt").write_text("ant\n\nbee\n")
    assert "'blank.txt', line 2: a class without a name" in refused("squeezenet1_1", weights, "--classes=blank.txt")
    assert "there are no weights 'ema' in it" in refused("squeezenet1_1", weights, "--weights=ema")
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00")
    assert "no text file of class names" in refused("squeezenet1_1", weights, "--classes=bytes.txt")
    assert "nowhere.txt" in refused("squeezenet1_1", weights, "--classes=nowhere.txt")

    files.write("nan.npz", {name: np.where(array > 0, array, np.nan) for name, array in tensors.items()})
    assert "holds nan or inf" in refused("squeezenet1_1", "nan.npz")
    Path("cut.safetensors").write_bytes(Path(weights).read_bytes()[:1000])
    assert "'cut.safetensors': damaged or truncated" in refused("squeezenet1_1", "cut.safetensors")


def test_names_are_text_as_any_editor_writes_it(here, launch):
    for content in (b"\xef\xbb\xbfant\r\nbee\r\ncat\r\n\r\n", b"ant\nbee \ncat\n\n\n", b"ant\rbee\rcat"):
        Path("names.txt").write_bytes(content)
        said = launch("import", "squeezenet1_1", "weights.safetensors", "--classes=names.txt", "--workdir=run")
        assert (
            said.code == 0
            and said.err == ""
            and tuple(json.loads(Path("run/data.json").read_text())["classes"]) == CLASSES
        )
        shutil.rmtree("run")


def test_classes_without_names(here, launch, tensors):
    said = launch("import", "squeezenet1_1", "weights.safetensors", "--workdir=three")
    assert said.code == 0 and "the 3 classes have numbers for names; --classes=NAMES.txt says others" in said.out
    many = {
        name: np.resize(array, (1000, *array.shape[1:])) if "classifier" in name else array
        for name, array in tensors.items()
    }
    files.write("many.npz", many)
    said = launch("import", "squeezenet1_1", "many.npz", "--workdir=many")
    assert said.code == 0 and "the 1,000 classes are taken to be those of ImageNet" in said.out
    classes = json.loads(Path("many/data.json").read_text())["classes"]
    assert len(set(classes)) == 1000
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 517: "crane", 967: "espresso", 999: "toilet tissue"}
    assert {number: classes[number] for number in known} == known


def test_one_of_several_sets_of_weights_is_chosen_and_said(here, launch, tensors):
    other = {name: array + 1 for name, array in tensors.items()}
    both = {f"model.{k}": v for k, v in tensors.items()} | {f"ema.module.{k}": v for k, v in other.items()}
    files.write("both.safetensors", both)
    bias = "classifier.1.bias"
    for words, expected, says in (
        (
            [],
            tensors,
            "holds 2 sets of weights ('model', 'ema'): 'model' is taken; import --weights=NAME takes another",
        ),
        (["--weights=ema"], other, "'module.' before every name is taken off"),
    ):
        said = launch("import", "squeezenet1_1", "both.safetensors", "--workdir=run", *words)
        assert said.code == 0 and said.err.count("\n") == 1 and says in said.err
        stored = files.read("run/variables.safetensors")["params/classifier/bias"]
        np.testing.assert_array_equal(stored, expected[bias])
        shutil.rmtree("run")


class Missing(Exception):
    """Stands for the hub's EntryNotFoundError."""


@pytest.fixture
def fake_hub(here, monkeypatch):
    """huggingface_hub with one repository, org/repo, that holds pytorch_model.bin."""
    package = ModuleType("huggingface_hub")

    def hf_hub_download(repository: str, name: str) -> str:
        if repository != "org/repo":
            raise OSError("404 Client Error.\nmore about it")
        if name != "pytorch_model.bin":
            raise Missing(name)
        return str(here / "weights.safetensors")

    package.hf_hub_download = hf_hub_download
    package.errors = ModuleType("errors")
    package.errors.EntryNotFoundError = Missing
    package.utils = ModuleType("utils")
    package.utils.logging = ModuleType("logging")
    package.utils.logging.set_verbosity_error = lambda: None
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)


def test_weights_from_the_hub(fake_hub, here, launch):
    assert hub.fetch("hf:org/repo") == here / "weights.safetensors"
    assert hub.fetch("hf:org/repo/pytorch_model.bin") == here / "weights.safetensors"
    assert launch("import", "squeezenet1_1", "hf:org/repo").code == 0
    for word, message in {
        "hf:org/other": "'hf:org/other' cannot be fetched: 404 Client Error.",
        "hf:org/repo/a.bin": "'hf:org/repo/a.bin': there is no file a.bin in org/repo",
        "hf:org": "write hf:ORG/REPO",
    }.items():
        said = launch("import", "squeezenet1_1", word, "--workdir=other")
        assert said.code == 2 and message in said.err and said.err.count("\n") == 1


def test_without_the_hubs_package(here, launch, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = launch("import", "squeezenet1_1", "hf:org/repo")
    assert said.code == 2 and "pip install 'cnn_jax[hub]'" in said.err
