"""Variants that torchvision and timm both publish answer to both names and read both namings."""

import numpy as np
import pytest

from cnn_jax.inspect.models import find, published
from cnn_jax.models.variant import Variant
from cnn_jax.weights.convert import tensor_shapes
from cnn_jax.weights.parity import cases
from cnn_jax.weights.schemes import choose, schemes

# Our variant, its name in the other library than its reference is of, and a tensor of each with its shape there, as in
# the source of timm 1.0.31 and torchvision 0.29.
BOTH = {
    "convnext_tiny": ("torchvision", "convnext_tiny", "features.5.8.block.3.weight", (1536, 384)),
    "convnext_atto": ("torchvision", "convnext_atto", "features.5.5.layer_scale", (160,)),
    "mnasnet_100": ("timm", "mnasnet_100", "conv_head.weight", (1280, 320, 1, 1)),
    "mobilenet_v2": ("timm", "mobilenetv2_100", "blocks.6.0.bn3.running_var", (320,)),
    "mobilenet_v3_large": ("timm", "mobilenetv3_large_100", "blocks.5.2.se.conv_reduce.weight", (240, 960, 1, 1)),
    "mobilenet_v3_small": ("timm", "mobilenetv3_small_100", "blocks.0.0.se.conv_expand.bias", (16,)),
    "efficientnet_b0": ("timm", "efficientnet_b0", "blocks.0.0.se.conv_reduce.weight", (8, 32, 1, 1)),
    "efficientnet_v2_s": ("timm", "efficientnetv2_s", "blocks.1.0.conv_exp.weight", (96, 24, 3, 3)),
    "regnet_x_400mf": ("timm", "regnetx_004_tv", "s1.b1.conv2.conv.weight", (32, 16, 3, 3)),
    "regnet_y_800mf": ("timm", "regnety_008_tv", "s4.b1.downsample.bn.weight", (784,)),
    "vgg11": ("timm", "vgg11", "pre_logits.fc2.weight", (4096, 4096)),
    "vgg16_bn": ("timm", "vgg16_bn", "head.fc.weight", (1000, 4096)),
    "resnet50": ("timm", "resnet50", "layer1.0.downsample.0.weight", (256, 64, 1, 1)),
}


@pytest.mark.parametrize("name", BOTH)
def test_the_other_librarys_names(name):
    library, theirs, tensor, shape = BOTH[name]
    variant = find(name)[1]
    assert isinstance(variant, Variant) and find(theirs)[1] is variant
    family = next(full for full, value in published().items() if value is variant).split(".")[0]
    module = variant()
    found = tensor_shapes(module, variant.input_shape, schemes(family, module)[library].names)
    assert found[tensor] == shape, {key: value for key, value in found.items() if key.startswith(tensor[:12])}
    nothing = {key: np.zeros(1, np.float32) for key in found}
    assert choose(module, variant.input_shape, nothing, family).name in (library, "torchvision")


def test_every_reference_is_a_name_of_its_variant():
    for case in [case for task in ("classify", "detect", "segment") for case in cases(task).values()]:
        assert find(case.model)[1] is case.variant
        if case.library == "torchvision":  # which timm does not publish: GoogLeNet and those smaller than MobileNet
            family = case.name.split(".")[0]
            known = schemes(family, case.variant())
            alike = {"resnet", "densenet", "inception_v3"}  # timm calls their parts as torchvision does
            only = {"googlenet", "squeezenet", "shufflenet_v2", "alexnet"}
            others = {"fcos", "retinanet", "ssd", "faster_rcnn", "fcn", "deeplabv3", "lraspp"}
            assert "timm" in known or family in alike | only | others, family


def test_names_of_one_variant_are_one_variant():
    names = [name for name in published()]
    assert len(names) == len({id(variant) for variant in published().values()}) == 212
    assert "mnasnet.mnasnet_100" in names and "mnasnet.mnasnet1_0" not in names
