"""Dilation in place of strides: which layers get it, and that it leaves the function of the network as it was."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.bit import bit_stem
from cnn_jax.models.convnext import ConvNeXt
from cnn_jax.models.inverted_residual import InvertedResidualNet, Stage
from cnn_jax.models.mobilenet_v1 import MobileNetV1
from cnn_jax.models.mobilenet_v3 import mobilenet_v3_large
from cnn_jax.models.output_stride import Sampling, dilated, stride_between
from cnn_jax.models.preact_resnet import PreActBottleneck, PreActResNet
from cnn_jax.models.regnet import RegNet
from cnn_jax.models.resnet import Bottleneck, ResNet, resnet18, resnet34, resnet50, resnetblur50
from cnn_jax.models.small_images import fitting_stem
from cnn_jax.models.vgg import vgg11
from cnn_jax.ops import convolution


def test_strides_give_way_from_the_end() -> None:
    strided, plain = Sampling(2, 1, 1), Sampling(1, 1, 1)
    assert dilated((4, 1, 2, 2, 2), 32) == [Sampling(4, 1, 1), plain, strided, strided, strided]
    assert dilated((4, 1, 2, 2, 2), 16) == [Sampling(4, 1, 1), plain, strided, strided, Sampling(1, 1, 2)]
    assert dilated((4, 1, 2, 2, 2), 8) == [Sampling(4, 1, 1), plain, strided, Sampling(1, 1, 2), Sampling(1, 2, 4)]
    # a stage without a stride goes on with the dilation that it finds
    assert dilated((8, 2, 1, 2), 8) == [Sampling(8, 1, 1), Sampling(1, 1, 2), Sampling(1, 2, 2), Sampling(1, 2, 4)]
    assert dilated((2,) * 6, 32)[-1] == strided  # 32 is the published network, whatever its strides


def test_only_the_first_block_of_a_stage_has_its_stride() -> None:
    assert [Sampling(2, 1, 1).of_block(i).strides for i in range(3)] == [2, 1, 1]
    assert [Sampling(1, 2, 4).of_block(i) for i in range(2)] == [Sampling(1, 2, 4), Sampling(1, 4, 4)]


@pytest.mark.parametrize("size", [*range(6, 12), 32, 33, 223, 224])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_stride_between(size: int, stride: int) -> None:
    """Each halving rounds up."""
    small = size
    for _ in range(stride.bit_length() - 1):
        small = -(-small // 2)
    assert stride_between(jnp.zeros((1, size, 1, 3)), jnp.zeros((1, small, 1, 8))) == stride


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="output_stride 12 is not one of 8, 16, 32"):
        feature_info(resnet50(output_stride=12), (224, 224, 3))
    with pytest.raises(ValueError, match="VGG has no field 'output_stride'"):
        vgg11(output_stride=8)


@pytest.mark.parametrize(("output_stride", "sizes"), [(32, (28, 14, 7)), (16, (28, 14, 14)), (8, (28, 28, 28))])
def test_sizes_of_resnet50(output_stride: int, sizes: tuple[int, ...]) -> None:
    """As torchvision's resnet50 with replace_stride_with_dilation (f, f, f), (f, f, t) and (f, t, t)."""
    module, x = resnet50(classes=None, output_stride=output_stride), jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")
    features, _ = jax.eval_shape(partial(module.init_with_output, train=False), jax.random.key(0), x)
    for stage, (size, channels) in enumerate(zip(sizes, (512, 1024, 2048), strict=True), 2):
        assert features[f"stage{stage}"].shape == (1, size, size, channels)


def geometry(module: nn.Module, size: int, taps: int) -> list[tuple[int, int]]:
    """(stride, dilation) of all convolutions with windows of at least `taps` along a side, in order."""
    x = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
    with convolution.lowering("native"):
        program = jax.make_jaxpr(partial(module.init_with_output, train=False))(jax.random.key(0), x)
    found = []
    for eqn in program.eqns:
        if eqn.primitive.name == "conv_general_dilated" and eqn.invars[1].aval.shape[0] >= taps:
            found.append((eqn.params["window_strides"][0], eqn.params["rhs_dilation"][0]))
    return found


def test_dilation_of_resnet50_is_torchvisions() -> None:
    """`_make_layer` gives the first block of a dilated stage the dilation from before it."""
    third, fourth = [(1, 1), *[(1, 2)] * 5], [(1, 2), (1, 4), (1, 4)]
    strided = [(2, 1), *[(1, 1)] * 3, (2, 1), *[(1, 1)] * 3]  # stem, and the first two stages
    assert geometry(resnet50(output_stride=8), 64, taps=3) == strided + third + fourth
    assert geometry(resnet50(output_stride=16), 64, taps=3)[8:] == [(2, 1), *[(1, 1)] * 5, (1, 1), (1, 2), (1, 2)]


def test_second_convolution_of_a_basic_block_lies_behind_the_stride() -> None:
    assert geometry(resnet34(output_stride=16), 64, taps=3)[-6:] == [(1, 1), *[(1, 2)] * 5]


def test_dilation_of_mobilenet_v3_is_torchvisions() -> None:
    """In its DeepLabV3 and LR-ASPP the block that loses its stride is dilated too: the last three, of 5x5."""
    assert geometry(mobilenet_v3_large(output_stride=16), 64, taps=5)[-3:] == [(1, 2)] * 3
    assert geometry(mobilenet_v3_large(), 64, taps=5)[-3:] == [(2, 1), (1, 1), (1, 1)]


def test_a_blur_that_halved_the_map_still_blurs() -> None:
    seen: list[int] = []

    def blur(x: jax.Array, strides: int) -> jax.Array:
        seen.append(strides)
        return x[:, ::strides, ::strides]

    feature_info(resnetblur50(downsample=blur, output_stride=8), (64, 64, 3))
    assert seen[:3] == [2, 1, 1]


@pytest.mark.parametrize(
    ("size", "sizes"), [(32, [32, 32, 16, 8, 4]), (64, [32, 32, 16, 8, 8]), (224, [56, 56, 28, 28, 28])]
)
def test_the_stride_of_the_stem_counts(size: int, sizes: list[int]) -> None:
    """It is 1, 2 and 4 at these sizes, which leaves 0, 1 and 2 strides to replace."""
    module, x = resnet18(stem=fitting_stem, output_stride=8), jax.ShapeDtypeStruct((1, size, size, 3), "float32")
    (_, features), _ = jax.eval_shape(partial(module.init_with_output, train=False), jax.random.key(0), x)
    assert [features[name].shape[1] for name in ("stem", "stage1", "stage2", "stage3", "stage4")] == sizes


A_TROUS: dict[str, Any] = {
    "basic": partial(ResNet, blocks=(1, 1, 2, 2), features=4),
    "bottleneck": partial(ResNet, blocks=(1, 1, 2, 2), features=4, block=Bottleneck),
    "regnet_x": partial(RegNet, blocks=(1, 1, 2, 2), widths=(8, 16, 24, 32), group_width=8),
    "inverted": partial(
        InvertedResidualNet,
        stages=(Stage(3, 2, 2, 8, True), Stage(3, 2, 2, 12, True), Stage(5, 2, 2, 12), Stage(3, 2, 2, 12, True)),
        blocks=(1, 2, 2, 2),
        stem=8,
        head=16,
    ),
    "separable": partial(MobileNetV1, blocks=(1, 1, 2, 2, 2), width=0.125),
    "preact": partial(PreActResNet, blocks=(1, 1, 2, 2), features=4, stem=bit_stem),
    "preact_bottleneck": partial(
        PreActResNet,
        blocks=(1, 1, 2, 2),
        features=4,
        stem=bit_stem,
        block=partial(PreActBottleneck, strides_first=True),
    ),
    "convnext": partial(ConvNeXt, blocks=(1, 1, 2, 2), width=8, layer_scale=1.0),
}


# Each pair of networks takes seconds to compile: what is built like another is compared at odd sizes only.
EVEN_TOO = ("basic", "regnet_x", "inverted", "convnext")


@pytest.mark.parametrize(
    ("name", "shape", "output_stride"),
    # ConvNeXt's unpadded convolutions of stride 2 cut an odd position off, which the dilated ones see
    [
        *((name, (64, 96), output_stride) for name in EVEN_TOO for output_stride in (8, 16)),
        *((name, (61, 83), 8) for name in A_TROUS if name != "convnext"),
    ],
)
def test_the_strided_network_is_every_nth_position_of_the_dilated_one(
    name: str, shape: tuple[int, int], output_stride: int, drawn: Any
) -> None:
    """Up to the borders: beyond them both see zeros at the same positions."""
    strided, dense = (A_TROUS[name](classes=None, output_stride=stride) for stride in (32, output_stride))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, *shape, 3)), "float32")
    variables = drawn(strided, x)
    with convolution.lowering("native"):  # which compiles quickest
        few, many = jax.jit(lambda v, x: [m.apply(v, x, train=False) for m in (strided, dense)])(variables, x)
    for key, (_, stride) in feature_info(A_TROUS[name](classes=1), (*shape, 3)).items():
        step = max(1, stride // output_stride)
        assert np.std(few[key]) > 1e-2  # nothing has died on the way
        np.testing.assert_allclose(many[key][:, ::step, ::step], few[key], rtol=1e-4, atol=1e-4)
