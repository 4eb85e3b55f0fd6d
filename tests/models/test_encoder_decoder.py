"""FCN, DeepLabV3 and LR-ASPP: counts without auxiliary head, which maps are read, and backbones that do not fit."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.models.deeplabv3 import deeplabv3_mobilenet_v3_large, deeplabv3_resnet50
from cnn_jax.models.encoder_decoder import strides_of
from cnn_jax.models.fcn import fcn_resnet50
from cnn_jax.models.layers import GroupNorm
from cnn_jax.models.lraspp import lraspp_mobilenet_v3_large
from cnn_jax.models.mobilenet_v2 import mobilenet_v2
from cnn_jax.models.resnet import ResNet
from cnn_jax.models.vgg import vgg11

TINY = partial(ResNet, blocks=(1, 1, 1, 1), features=4)


def shapes(module: Any, shape: tuple[int, ...], *, train: bool = False) -> Any:
    x = jax.ShapeDtypeStruct(shape, "float32")
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    return jax.eval_shape(partial(module.init_with_output, train=train), keys, x)


@pytest.mark.parametrize(
    ("variant", "params"), [(fcn_resnet50, 32_957_013), (deeplabv3_mobilenet_v3_large, 11_025_477)]
)
def test_parameters_without_the_auxiliary_head(variant: Any, params: int) -> None:
    """Those of torchvision with weights=None and aux_loss=False."""
    assert count_params(variant(aux=None), (64, 64, 3)) == params


def test_which_maps_are_read() -> None:
    """Of MobileNetV3 the first block of stride 8 and the last map, of ResNet the last two stages, all of stride 8."""
    (_, found), _ = shapes(fcn_resnet50(), (1, 64, 96, 3))
    assert found["stage2"].shape[1:3] == found["stage3"].shape[1:3] == found["stage4"].shape[1:3] == (8, 12)
    assert found["head"].shape == (1, 8, 12, 512) and found["aux"].shape == (1, 64, 96, 21)
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
    """The deepest map of a stride is the same for images of any size, as a small one does not say."""
    assert strides_of(mobilenet_v2(classes=None), 3) == {
        "stem": 2, "stage1": 2, "stage2": 4, "stage3": 8, "stage4": 16, "stage5": 16, "stage6": 32, "stage7": 32,
        "stage8": 32,
    }  # fmt: skip
    for size in (224, 65, 3):
        net = lraspp_mobilenet_v3_large(backbone=mobilenet_v2, low=8)
        _, variables = shapes(net, (1, size, size, 3))
        assert variables["params"]["classifier"]["low"]["kernel"].shape == (1, 1, 32, 21)
    (logits, found), _ = shapes(fcn_resnet50(backbone=vgg11, output_stride=32, aux=None), (1, 70, 64, 3))
    assert logits.shape == (1, 70, 64, 21) and found["head"].shape == (1, 4, 4, 128)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(
        ValueError, match="has no field 'output_stride'.*; output_stride=32 takes the backbone as it is"
    ):
        shapes(fcn_resnet50(backbone=vgg11), (1, 64, 64, 3))
    with pytest.raises(ValueError, match="no map 'stage9': it has stem, stage1, stage2, stage3, stage4"):
        shapes(fcn_resnet50(aux="stage9"), (1, 64, 64, 3))
    with pytest.raises(ValueError, match=r"no map 16: it has stem \(stride 4\), stage1 \(stride 4\), stage2"):
        shapes(fcn_resnet50(aux=16), (1, 64, 64, 3))


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
