"""Networks of a backbone and a head: which maps are read, what does not fit, and parameters counted by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.models.convnext import ConvNeXt
from cnn_jax.models.deeplabv3 import deeplabv3_mobilenet_v3_large, deeplabv3_resnet50, deeplabv3_resnet101
from cnn_jax.models.deeplabv3plus import deeplabv3plus_resnet50
from cnn_jax.models.fcn import fcn_resnet50, fcn_resnet101
from cnn_jax.models.layers import GroupNorm
from cnn_jax.models.lraspp import lraspp_mobilenet_v3_large
from cnn_jax.models.mobilenet_v2 import mobilenet_v2
from cnn_jax.models.pspnet import pspnet_resnet50
from cnn_jax.models.resnet import ResNet, resnet50
from cnn_jax.models.upernet import upernet_convnext_tiny, upernet_resnet50
from cnn_jax.models.vgg import vgg11

TINY = partial(ResNet, blocks=(1, 1, 1, 1), features=4)


def shapes(module: Any, shape: tuple[int, ...], *, train: bool = False) -> Any:
    x = jax.ShapeDtypeStruct(shape, "float32")
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    return jax.eval_shape(partial(module.init_with_output, train=train), keys, x)


def test_which_maps_are_read() -> None:
    """Of MobileNetV3 the first block of stride 8 and the last map, of ResNet the last two stages, all of stride 8."""
    (_, found), _ = shapes(fcn_resnet50(backbone=TINY), (1, 64, 96, 3))
    assert found["stage2"].shape[1:3] == found["stage3"].shape[1:3] == found["stage4"].shape[1:3] == (8, 12)
    assert found["head"].shape == (1, 8, 12, 8) and found["aux"].shape == (1, 64, 96, 21)
    assert fcn_resnet50().loss_weights() == {"logits": 1.0, "aux": 0.5}
    assert fcn_resnet50(aux=None).loss_weights() == {"logits": 1.0}
    (_, found), variables = shapes(deeplabv3_mobilenet_v3_large(), (1, 64, 96, 3))
    assert found["block16"].shape == (1, 4, 6, 960) and found["block4"].shape == (1, 8, 12, 40)
    assert variables["params"]["aux"]["conv"]["conv"]["kernel"].shape == (3, 3, 40, 10)
    assert variables["params"]["aux_classifier"]["kernel"].shape == (1, 1, 10, 21)
    (_, found), variables = shapes(lraspp_mobilenet_v3_large(), (1, 64, 96, 3))
    assert found["head"].shape == (1, 8, 12, 128)
    assert variables["params"]["classifier"]["low"]["kernel"].shape == (1, 1, 40, 21)
    assert set(variables["params"]["scale"]) == {"kernel"}  # no norm, no bias


def test_any_backbone_by_strides() -> None:
    """The deepest map of a stride is the same one for images of any size."""
    net = lraspp_mobilenet_v3_large(backbone=mobilenet_v2, low=8, multiple=32)
    for size in (65, 3):
        _, variables = shapes(net, (1, size, size, 3))
        assert variables["params"]["classifier"]["low"]["kernel"].shape == (1, 1, 32, 21)


def test_images_are_padded_and_logits_cut_off() -> None:
    """ConvNeXt's convolutions and VGG's poolings have no padding, and ConvNeXt needs 32 pixels."""
    net: Any = fcn_resnet50(backbone=vgg11, output_stride=32, multiple=32, aux=None)
    (logits, found), _ = shapes(net, (1, 70, 64, 3))
    assert logits.shape == (1, 70, 64, 21) and found["head"].shape == (1, 6, 4, 128)
    net = upernet_convnext_tiny(backbone=partial(ConvNeXt, blocks=(1, 1, 1, 1), width=4))
    (logits, found), _ = shapes(net, (1, 70, 5, 3))
    assert logits.shape == (1, 70, 5, 150) and found["head"].shape == (1, 24, 8, 512)
    assert found["aux"].shape == logits.shape


def test_what_does_not_fit_is_said() -> None:
    x = (1, 64, 64, 3)
    with pytest.raises(ValueError, match="no field 'output_stride'.*; output_stride=32 takes the backbone as it is"):
        shapes(fcn_resnet50(backbone=vgg11), x)
    with pytest.raises(
        ValueError, match="no map 'stage9': it has stem, stage1, .*, stage4, by stride with multiple=32"
    ):
        shapes(fcn_resnet50(backbone=TINY, aux="stage9"), x)
    with pytest.raises(ValueError, match="no map 16: it has stem, stage1, .*, stage4, and by stride 4, 8"):
        shapes(fcn_resnet50(backbone=TINY, aux=16, multiple=32), x)


def test_one_number_a_channel_is_not_normalised_by_the_batch() -> None:
    """The image pooling has 1x1 positions: with a batch of one its BatchNorm would make 0 of everything."""
    net = deeplabv3_resnet50(backbone=TINY)
    shapes(net, (2, 32, 32, 3), train=True)
    shapes(net.clone(norm=GroupNorm), (1, 32, 32, 3), train=True)
    x = jnp.ones((1, 32, 32, 3))
    variables = jax.eval_shape(partial(net.init, train=False), jax.random.key(0), x)
    learn = partial(net.apply, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
    with pytest.raises(ValueError, match="BatchNorm 'head/aspp/pooled/norm' is given one number for each channel"):
        jax.eval_shape(learn, variables, x)
    jax.eval_shape(partial(net.apply, train=False), variables, x)


def layer(window: int, inputs: int, outputs: int) -> int:
    """Parameters of a convolution without bias and its norm."""
    return window**2 * inputs * outputs + 2 * outputs


def separable(inputs: int, outputs: int) -> int:
    return 9 * inputs + 2 * inputs + layer(1, inputs, outputs)


def last(inputs: int, classes: int) -> int:
    return inputs * classes + classes


@pytest.mark.parametrize(
    ("variant", "read", "params"),
    [
        (fcn_resnet50, 1024, 32_957_013),
        (fcn_resnet101, 1024, 51_949_141),
        (deeplabv3_resnet50, 1024, 39_638_869),
        (deeplabv3_resnet101, 1024, 58_630_997),
        (deeplabv3_mobilenet_v3_large, 40, 11_025_477),
    ],
)
def test_parameters_without_the_auxiliary_head(variant: Any, read: int, params: int) -> None:
    """Those of torchvision with weights=None and aux_loss=False; the head reads a map of so many channels."""
    assert variant.params - layer(3, read, read // 4) - last(read // 4, 21) == params


def test_parameters_by_hand() -> None:
    """The same formulas with other widths give the 68.1 M of PSPNet on ResNet-101 (Xie et al. 2021, table 2)."""
    body = resnet50.params - last(2048, 1000)
    aux = layer(3, 1024, 256) + last(256, 150)
    pooling = 4 * layer(1, 2048, 512) + layer(3, 2048 + 4 * 512, 512)
    assert pspnet_resnet50.params == body + pooling + last(512, 150) + aux
    aspp = 2 * layer(1, 2048, 256) + 3 * separable(2048, 256) + layer(1, 5 * 256, 256)
    decoder = layer(1, 256, 48) + separable(256 + 48, 256) + separable(256, 256)
    assert deeplabv3plus_resnet50.params == body + aspp + decoder + last(256, 21)
    pyramid = sum(layer(1, width, 512) + layer(3, 512, 512) for width in (256, 512, 1024))
    assert upernet_resnet50.params == body + pooling + pyramid + layer(3, 4 * 512, 512) + last(512, 150)
