"""Namings: every file of them belongs to a family of models, and the right one is found by itself."""

import pkgutil

import numpy as np
import pytest

import cnn_jax.models
import cnn_jax.weights.names
from cnn_jax.models.efficientnet import efficientnet_lite0, efficientnet_lite1
from cnn_jax.models.mobilenet_v2 import mobilenet_v2_050
from cnn_jax.models.resnet import resnet18
from cnn_jax.weights.convert import Names, tensor_shapes
from cnn_jax.weights.names import efficientnet
from cnn_jax.weights.names import mobilenet_v2 as mobilenet_v2_names
from cnn_jax.weights.schemes import choose, count_classes, schemes

SHAPE = (64, 64, 3)


def modules(package):
    return {info.name for info in pkgutil.iter_modules(package.__path__)}


def test_each_file_of_names_belongs_to_a_family():
    assert modules(cnn_jax.weights.names) <= modules(cnn_jax.models)


def made_of(module, names: Names) -> dict[str, np.ndarray]:
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in tensor_shapes(module, SHAPE, names).items()}


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_the_naming_that_fits_is_chosen(name):
    tensors = made_of(mobilenet_v2_050(classes=7), getattr(mobilenet_v2_names, name))
    scheme = choose(mobilenet_v2_050(), SHAPE, tensors, "mobilenet_v2")
    assert scheme.name == name and count_classes(mobilenet_v2_050(), SHAPE, tensors, scheme) == 7
    del tensors["classifier.1.weight" if name == "torchvision" else "classifier.weight"]
    assert count_classes(mobilenet_v2_050(), SHAPE, tensors, scheme) is None


def test_a_naming_that_counts_blocks_takes_those_of_the_module():
    for module in (efficientnet_lite0(), efficientnet_lite1()):
        names = schemes("efficientnet", module)["lite_pytorch"].names
        last = f"stage7_block{module.blocks[-1]}/depthwise_conv"
        assert names(last) == efficientnet.lite_pytorch(last, blocks=module.blocks)
    assert names(last) != efficientnet.lite_pytorch(last)


def test_what_has_no_naming_says_so(refused):
    assert "no published weights are known for the models of small_cnn" in refused(
        choose, resnet18(), SHAPE, {}, "small_cnn"
    )
