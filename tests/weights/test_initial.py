"""Which variables of a run a part of them means, and whether the last layer of published weights is taken over."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Experiment, Model, Optim, Transfer
from cnn_jax.data import spec as specs
from cnn_jax.data.digits import digits
from cnn_jax.data.spec import Field, with_statistics
from cnn_jax.inspect.stages import within_backbone
from cnn_jax.models.convmixer import convmixer_768_32
from cnn_jax.models.fcn import fcn_resnet50
from cnn_jax.models.point_detector import point_detector
from cnn_jax.models.resnet import resnet18
from cnn_jax.tasks.classify import classify
from cnn_jax.train import run_folder
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant
from cnn_jax.weights import files
from cnn_jax.weights.class_names import imagenet_classes
from cnn_jax.weights.convert import tensor_shapes, to_variables
from cnn_jax.weights.initial import part_of, prepare
from cnn_jax.weights.names.convmixer import timm
from cnn_jax.weights.names.resnet import torchvision
from cnn_jax.weights.parity import all_made_up

RUN = {
    "params/backbone/conv1/kernel": 1,
    "params/projection/kernel": 2,
    "batch_stats/backbone/norm1/mean": 3,
    "teacher/params/backbone/conv1/kernel": 4,
    "teacher/batch_stats/backbone/norm1/mean": 5,
    "queue/rows": 6,
}
STUDENT = {"params/conv1/kernel": 1, "batch_stats/norm1/mean": 3}
TEACHER = {"params/conv1/kernel": 4, "batch_stats/norm1/mean": 5}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("", RUN),
        ("backbone", STUDENT),
        ("params/backbone", STUDENT),
        ("backbone/conv1", {"params/kernel": 1}),
        ("teacher/backbone", TEACHER),
        ("teacher/params/backbone", TEACHER),
        ("teacher", {"params/backbone/conv1/kernel": 4, "batch_stats/backbone/norm1/mean": 5}),
    ],
)
def test_a_part_is_a_model_of_its_own(part: str, expected: dict[str, int]) -> None:
    found = part_of({path: np.asarray(value) for path, value in RUN.items()}, part)
    assert {path: int(value) for path, value in found.items()} == expected


def test_a_teacher_of_weights_alone_is_a_model_too() -> None:
    found = {"params/conv1/kernel": np.zeros(1), "teacher/backbone/conv1/kernel": np.ones(1)}
    assert part_of(found, "teacher") == {"params/backbone/conv1/kernel": np.ones(1)}
    assert part_of(found, "teacher/backbone") == {"params/conv1/kernel": np.ones(1)}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("backbon", "did you mean 'backbone'"),
        ("teachr", "did you mean 'teacher'"),
        ("teacher/projection", "'teacher/projection' is no part of them"),
    ],
)
def test_no_such_part_is_one_line(part: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        part_of({path: np.asarray(value) for path, value in RUN.items()}, part)


def transferred(build, weights: Path) -> Experiment:
    return Experiment(
        name="transfer",
        data=Data(source=digits),
        model=Model(build=build, task=classify),
        optim=Optim(build=sgd, lr=0.1, schedule=constant),
        augment=identity,
        transfer=Transfer(weights=str(weights)),
    )


@pytest.mark.parametrize("around", [partial(point_detector, width=4), fcn_resnet50], ids=["detector", "segmenter"])
def test_weights_of_a_classifier_go_into_a_backbone(around, tmp_path: Path) -> None:
    """Published ones by their names, and those of a run folder or of imported weights by their paths."""
    file, shape, spec = tmp_path / "resnet.safetensors", (64, 64, 3), digits()["train"].spec
    spec = with_statistics(
        dataclasses.replace(spec, inputs={"image": Field("image", shape, "uint8")}), (0.0,) * 3, (1.0,) * 3
    )
    build = partial(resnet18, features=4, blocks=(1, 1, 1, 1))
    net = partial(around, backbone=build)
    tensors = all_made_up(tensor_shapes(build(), shape, torchvision), calm=False)
    files.write(file, tensors)
    found = prepare(transferred(net, file), spec, tmp_path / "run")
    expected = flatten_dict(to_variables(build(), shape, tensors, torchvision), sep="/")
    backbone = {within_backbone(path): array for path, array in expected.items() if "classifier" not in path}
    assert found.variables.keys() == backbone.keys() and any(path.startswith("batch_stats") for path in backbone)
    assert all((found.variables[path] == array).all() for path, array in backbone.items())
    assert found.record and found.record["into"] == "backbone"
    assert found.head == "the weights are those of the backbone, all else is new"

    folder = tmp_path / "imported"
    folder.mkdir()
    run_folder.write_json(folder / run_folder.DATA, specs.to_json(spec))
    run_folder.write_json(folder / run_folder.PREDICTOR, {"model": "", "task": ""})
    save_file(expected, folder / run_folder.VARIABLES)
    again = prepare(transferred(net, folder), spec, tmp_path / "other")
    assert again.variables.keys() == backbone.keys()
    assert all((again.variables[path] == array).all() for path, array in backbone.items())
    del expected["params/stem_conv/kernel"]
    save_file(expected, folder / run_folder.VARIABLES)
    with pytest.raises(ValueError, match="of another model .missing: params/backbone/stem_conv/kernel"):
        prepare(transferred(net, folder), spec, tmp_path / "other")


@pytest.mark.parametrize("same", [True, False])
def test_published_weights_keep_their_last_layer_for_the_classes_of_imagenet_alone(same: bool, tmp_path: Path) -> None:
    build = partial(convmixer_768_32, width=4, depth=1, kernel=3, patch=2)
    files.write(tmp_path / "weights.safetensors", all_made_up(tensor_shapes(build(), (8, 8, 1), timm), calm=False))
    names = imagenet_classes()
    spec = digits()["train"].spec
    spec = dataclasses.replace(spec, classes=names if same else names[::-1])
    found = prepare(transferred(build, tmp_path / "weights.safetensors"), spec, tmp_path / "run")
    assert ("params/classifier/kernel" in found.variables) == same
    assert found.head == f"the last layer is {'kept' if same else 'new'}, as the weights are " + (
        "for the same classes" if same else "not for the same classes"
    )
    assert found.record and found.record["head"] == ("kept" if same else "new")
