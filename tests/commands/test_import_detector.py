"""import of a detector's weights: predict reads a picture as torchvision does, and says where in it the objects are."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax.data.placement import to_original
from cnn_jax.data.prepare import ImagePrepare, fit
from cnn_jax.lookup import describe
from cnn_jax.models.necks import FPN
from cnn_jax.models.norms import FrozenBatchNorm
from cnn_jax.models.resnet import ResNet
from cnn_jax.models.retinanet import retinanet_resnet50_fpn
from cnn_jax.models.ssd import ssdlite320_mobilenet_v3_large
from cnn_jax.models.variant import Preprocessing
from cnn_jax.ops import convolution
from cnn_jax.weights import files
from cnn_jax.weights.convert import tensor_shapes, to_variables
from cnn_jax.weights.detector_parity import Results, differences
from cnn_jax.weights.names import retinanet, ssd
from cnn_jax.weights.parity import QUICK, all_made_up
from cnn_jax.weights.schemes import choose, count_classes, schemes

BACKBONE = partial(ResNet, blocks=(1, 1, 1, 1), features=4)
NECK = partial(FPN, features=16)
FIELDS = {"backbone": BACKBONE, "neck": NECK}
TINY = f"retinanet_resnet50_fpn(backbone={describe(BACKBONE)}, neck={describe(NECK)}, most=20)"
IMAGES = Preprocessing((48, 80), resize="short_side", interpolation="sampled")
NAMES = ("ant", "bee", "cat")
SHAPE = (64, 96, 3)


def tiny(**fields: Any) -> Any:
    from cnn_jax.inspect import models

    return models.find(TINY)[0](classes=len(NAMES), **fields)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    made = all_made_up(tensor_shapes(tiny(), SHAPE, retinanet.torchvision), calm=False)
    made["head.classification_head.cls_logits.weight"] *= 0.01  # scores that are not all 1
    return made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, np.ndarray]) -> Path:
    """The current folder, with weights, names and a picture; images are prepared as IMAGES says."""
    monkeypatch.chdir(tmp_path)
    files.write("weights.safetensors", tensors)
    Path("names.txt").write_text("\n".join(NAMES) + "\n")
    pixels = np.random.default_rng(0).integers(0, 256, (70, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("tall.png")
    before = retinanet_resnet50_fpn.preprocessing
    object.__setattr__(retinanet_resnet50_fpn, "preprocessing", IMAGES)  # frozen, and known by identity
    yield tmp_path
    object.__setattr__(retinanet_resnet50_fpn, "preprocessing", before)


def test_a_picture_is_predicted_and_scored_in_its_own_size(here: Path, launch: Any, tensors: Any) -> None:
    said = launch("import", TINY, "weights.safetensors", "--classes=names.txt", "--workdir=run")
    assert said.code == 0 and said.err == "", said.err
    assert "3 classes, named as by torchvision" in said.out and "frozen, with epsilon 0 " in said.out
    assert "images: short side to 48 pixels, the long one to 80 at most (sampled)" in said.out
    about = json.loads((here / "run" / "predictor.json").read_text())
    assert about["task"] == "cnn_jax.tasks.detect.detect" and "FrozenBatchNorm(epsilon=0.0)" in about["model"]
    data = json.loads((here / "run" / "data.json").read_text())
    assert data["inputs"]["image"]["shape"] == [96, 96, 3] and data["inputs"]["placement"]["shape"] == [6]

    found = cnn_jax.load("run").predict("tall.png")
    module = tiny(norm=partial(FrozenBatchNorm, epsilon=0.0))
    variables = to_variables(module, SHAPE, tensors, retinanet.torchvision)
    prepare = ImagePrepare(
        size=(48, 80), resize="short_side", interpolation="sampled", mean=IMAGES.mean, std=IMAGES.std
    )
    example, placement = fit(np.asarray(Image.open("tall.png")), prepare)
    assert example.shape == (96, 64, 3)  # 67 rows of 48 pixels

    @partial(jax.jit, compiler_options=QUICK)
    def run(variables: Any, x: Any) -> Any:
        x = (x - np.float32(IMAGES.mean)) / np.float32(IMAGES.std)
        content = jnp.array([[0.0, 0, 48, 67]])  # detections compete as far as the picture shows them
        return module.detections(module.apply(variables, x, train=False), content)

    with convolution.lowering("native"):
        wanted = run(variables, example[None])
    boxes = to_original(np.asarray(wanted.boxes[0]), placement)
    ours, theirs = (
        Results({}, np.column_stack(parts), {})
        for parts in ((found.boxes, found.scores, found.labels), (boxes, wanted.scores[0], wanted.labels[0]))
    )
    assert len(ours.found) == 20 and differences(ours, theirs) == []
    assert found.names == tuple(NAMES[label] for label in found.labels)
    assert (found.boxes[:, 2:] <= (50, 70)).all()
    score(launch, found)


def score(launch: Any, found: Any) -> None:
    """Scores the run on tall.png, in which it has found that, and a picture that becomes an example of another size."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, 90, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("wide.png")
    sizes = {"tall.png": (70, 50), "wide.png": (40, 90)}
    images = [
        {"id": number, "file_name": name, "height": height, "width": width}
        for number, (name, (height, width)) in enumerate(sizes.items(), 1)
    ]
    row = {"id": 1, "image_id": 1, "category_id": 10, "iscrowd": 0, "bbox": [5, 5, 20, 30]}
    categories = [{"id": 3, "name": "ant"}, {"id": 10, "name": "bee"}]
    Path("truth.json").write_text(json.dumps({"images": images, "annotations": [row], "categories": categories}))
    said = launch("eval", "run", "--data=coco:truth.json", "--coco", "--out=scores")
    assert said.code == 0, said.err
    assert "1 of 3 classes of the model are not in the data, as 'cat': what is found of them is not scored" in said.err
    written = json.loads(Path("scores/detections.json").read_text())
    assert {one["image_id"] for one in written} == {1, 2}
    rows = [one for one in written if one["image_id"] == 1]
    # The class that is not in the data has a number that no other has.
    assert [one["category_id"] for one in rows] == [(3, 10, 11)[label] for label in found.labels]
    boxes = np.array([one["bbox"] for one in rows])
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], found.boxes[:, 2:], atol=1e-3)
    np.testing.assert_allclose([one["score"] for one in rows], found.scores, rtol=1e-5)


def test_weights_say_how_many_classes_they_are_for(tensors: Any) -> None:
    scheme = schemes("retinanet", tiny())["torchvision"]
    for model in (tiny(), tiny().clone(classes=90)):
        assert count_classes(model, SHAPE, tensors, scheme) == 3
    odd = {name: array[:-1] if "cls_logits" in name else array for name, array in tensors.items()}
    assert count_classes(tiny(), SHAPE, odd, scheme) is None
    lite = ssdlite320_mobilenet_v3_large(classes=5)
    (scheme,) = schemes("ssd", lite).values()
    shapes = tensor_shapes(lite, (320, 320, 3), partial(ssd.torchvision, lite=True))
    made = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    assert count_classes(ssdlite320_mobilenet_v3_large(), (320, 320, 3), made, scheme) == 5


def test_other_classes_draw_the_last_layer_alone(here: Path, tensors: Any) -> None:
    with pytest.warns(UserWarning, match="the last layer of retinanet_resnet50_fpn is drawn anew for 5 classes"):
        module, variables = cnn_jax.create_model(
            "retinanet_resnet50_fpn",
            weights="weights.safetensors",
            classes=5,
            input=SHAPE,
            backbone=BACKBONE,
            neck=NECK,
        )
    kept = to_variables(module.clone(classes=3), SHAPE, tensors, retinanet.torchvision)["params"]
    for part in ("neck", "class_tower", "box_tower", "boxes"):
        assert jax.tree.all(jax.tree.map(np.array_equal, variables["params"][part], kept[part])), part
    last = variables["params"]["classifier"]
    assert last["kernel"].shape == (3, 3, 16, 9 * 6)
    np.testing.assert_allclose(jax.nn.sigmoid(last["bias"]), 0.01, rtol=1e-5)  # as rare as at the start


def test_names_of_earlier_versions_are_known(tensors: Any) -> None:
    earlier = tensor_shapes(tiny(), SHAPE, retinanet.torchvision_0_12)
    assert {"backbone.fpn.inner_blocks.0.weight", "head.classification_head.conv.6.bias"} <= earlier.keys()
    renamed = dict(zip(earlier, tensors.values(), strict=True))
    assert choose(tiny(), SHAPE, renamed, "retinanet").name == "torchvision_0_12"
    assert choose(tiny(), SHAPE, tensors, "retinanet").name == "torchvision"


def test_norms_that_learn_are_not_frozen(here: Path, launch: Any, tensors: Any) -> None:
    counters = {name.replace("running_mean", "num_batches_tracked"): np.float32(0) for name in tensors}
    files.write("weights.safetensors", tensors | {n: a for n, a in counters.items() if n.endswith("tracked")})
    said = launch("import", TINY, "weights.safetensors", "--workdir=run")
    assert said.code == 0 and "frozen" not in said.out
    assert "Frozen" not in (here / "run" / "predictor.json").read_text()
