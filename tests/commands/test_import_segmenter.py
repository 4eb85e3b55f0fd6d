"""import of a segmenter's weights: predict reads a picture as torchvision does, and says the class of each pixel."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax.inspect import models
from cnn_jax.lookup import describe
from cnn_jax.models.fcn import VOC_IMAGES, fcn_resnet50
from cnn_jax.models.resnet import ResNet
from cnn_jax.models.variant import Preprocessing
from cnn_jax.ops import convolution
from cnn_jax.weights import files
from cnn_jax.weights.class_names import voc_classes
from cnn_jax.weights.convert import tensor_shapes, to_variables
from cnn_jax.weights.parity import QUICK, all_made_up
from cnn_jax.weights.schemes import schemes

BACKBONE = partial(ResNet, blocks=(1, 1, 1, 1), features=4)
TINY = f"fcn_resnet50(backbone={describe(BACKBONE)})"
IMAGES = Preprocessing((40, 90), resize="short_side", multiple=1)
SHAPE = (64, 64, 3)


def tiny(**fields: Any) -> Any:
    return models.find(TINY)[0](**fields)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return all_made_up(tensor_shapes(tiny(), SHAPE, schemes("fcn", tiny())["torchvision"].names), calm=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, np.ndarray]) -> Path:
    """The current folder, with weights and a picture; images are prepared as IMAGES says."""
    monkeypatch.chdir(tmp_path)
    files.write("weights.safetensors", tensors)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("tall.png")
    object.__setattr__(fcn_resnet50, "preprocessing", IMAGES)  # frozen, and known by identity
    yield tmp_path
    object.__setattr__(fcn_resnet50, "preprocessing", VOC_IMAGES)


def test_a_picture_is_predicted(here: Path, launch: Any, tensors: Any) -> None:
    said = launch("import", TINY, "weights.safetensors", "--workdir=run")
    assert said.code == 0 and said.err == "", said.err
    assert "21 classes, named as by torchvision" in said.out
    assert "images: short side to 40 pixels, the long one to 90 at most (bilinear)" in said.out
    assert (
        "the 21 classes are taken to be those of VOC" in said.out
        and "--data='masks(PATH, size=40, resize=\"letterbox\")'" in said.out
    )
    about = json.loads((here / "run" / "predictor.json").read_text())
    assert about["task"] == "cnn_jax.tasks.segment.segment"
    data = json.loads((here / "run" / "data.json").read_text())
    assert data["inputs"]["image"]["shape"] == [90, 90, 3] and data["targets"]["class_map"]["shape"] == [90, 90]
    assert data["classes"] == ["background", *data["classes"][1:]] and data["classes"][20] == "tvmonitor"

    found = cnn_jax.load("run").predict("tall.png")
    # as torchvision's preset of these weights: resized by Pillow to 40x56, never padded, then normalised
    x = np.asarray(Image.open("tall.png").resize((40, 56), Image.Resampling.BILINEAR), np.float32) / 255
    x = (x - np.float32(IMAGES.mean)) / np.float32(IMAGES.std)
    module = tiny()
    variables = to_variables(module, SHAPE, tensors, schemes("fcn", module)["torchvision"].names)
    with convolution.lowering("native"):
        logits, _ = jax.jit(partial(module.apply, train=False), compiler_options=QUICK)(variables, x[None])
    rows, columns = (np.arange(n) * 2 + 1 for n in (70, 50))
    wanted = np.asarray(logits[0].argmax(-1))[rows * 56 // 140][:, columns * 40 // 100]
    assert found.class_map.shape == (70, 50) and len(np.unique(wanted)) > 3
    assert (found.class_map == wanted).mean() > 0.999  # two of the largest logits may be nearly alike
    assert found.names[0] in voc_classes()

    said = launch("predict", "run", "tall.png")
    assert said.code == 0 and found.names[0] in said.out

    for name, pixels in {"images": np.zeros((30, 40, 3), np.uint8), "masks": np.full((30, 40), 7, np.uint8)}.items():
        (here / "set" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(here / "set" / name / "a.png")
    (here / "set" / "classes.txt").write_text("\n".join(voc_classes()))
    said = launch("eval", "run", '--data=masks(set, size=40, resize="letterbox")')
    assert said.code == 0 and "mean_iou" in said.out, said.err


def test_the_auxiliary_head_may_be_left_out_and_has_to_be_there_otherwise(tensors: Any) -> None:
    scheme = schemes("fcn", tiny())["torchvision"].names
    without = to_variables(tiny(aux=None), SHAPE, tensors, scheme)["params"]
    assert set(without) == {"backbone", "head", "classifier"}
    plain = {name: array for name, array in tensors.items() if not name.startswith("aux_classifier")}
    with pytest.raises(ValueError, match="missing: aux_classifier.0.weight, aux_classifier.1.bias"):
        to_variables(tiny(), SHAPE, plain, scheme)


def test_other_classes_draw_the_last_layers_alone(here: Path, tensors: Any) -> None:
    with pytest.warns(UserWarning, match="the last layer of fcn_resnet50 is drawn anew for 5 classes"):
        module, variables = cnn_jax.create_model(
            "fcn_resnet50", weights="weights.safetensors", classes=5, input=SHAPE, backbone=BACKBONE
        )
    kept = to_variables(tiny(), SHAPE, tensors, schemes("fcn", tiny())["torchvision"].names)["params"]
    for part in ("backbone", "head", "aux"):
        assert jax.tree.all(jax.tree.map(np.array_equal, variables["params"][part], kept[part])), part
    assert variables["params"]["classifier"]["kernel"].shape == (1, 1, 8, 5)
    assert variables["params"]["aux_classifier"]["bias"].shape == (5,)
