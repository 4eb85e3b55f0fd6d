"""U-Nets over networks of this package: how the way up joins their maps, at any size.

Outputs and numbers of parameters were compared with Unet of segmentation_models_pytorch 0.6.0.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.models import convnext, mobilenet_v2, vgg
from cnn_jax.models.backbone_unet import BackboneUNet, unet_resnet18, unet_resnet50
from cnn_jax.models.layers import Conv
from cnn_jax.models.resnet import ResNet, small_image_stem
from cnn_jax.models.resnet_d import resnet50d


def test_parameters_are_those_of_segmentation_models_pytorch() -> None:
    """It counts 14,328,209, 32,521,105 and 6,628,945 with one class."""
    head = 9 * 16 + 1
    assert unet_resnet18.params == 14_328_209 + head and unet_resnet50.params == 32_521_105 + head
    assert count_params(unet_resnet18(backbone=mobilenet_v2.mobilenet_v2, classes=1), (64, 64, 3)) == 6_628_945


class Halving(nn.Module):
    """A backbone of three maps; that of stride 4 is not shown."""

    classes: None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        features = {}
        for i in (1, 2, 3):
            features[f"stage{i}"] = x = Conv(2, (3, 3), 2, use_bias=False, name=f"conv{i}")(x)
        del features["stage2"]
        return features


def test_each_step_repeats_pixels_and_joins_the_map_of_that_size(drawn: Any) -> None:
    net = BackboneUNet(2, backbone=Halving, features=(5, 4, 3))
    x = np.random.default_rng(0).normal(size=(2, 29, 34, 1)).astype(np.float32)
    variables = drawn(net, x)
    logits, features = jax.jit(partial(net.apply, train=False))(variables, x)
    assert logits.shape == (2, 29, 34, 2)
    assert {name: value.shape[1:] for name, value in features.items()} == {
        "stage1": (16, 20, 2), "stage3": (4, 5, 2), "up4": (8, 10, 5), "up2": (16, 20, 4), "up1": (32, 40, 3)
    }  # fmt: skip
    kernels = {name: part["conv1"]["kernel"].shape[2] for name, part in variables["params"].items() if "up" in name}
    assert kernels == {"up4": 2, "up2": 5 + 2, "up1": 4}
    # A larger image that goes on with zeros is the same one: logits are cut out of all.
    whole = jax.jit(partial(net.apply, train=False))(variables, np.pad(x, ((0, 0), (0, 3), (0, 6), (0, 0))))[0]
    np.testing.assert_allclose(whole[:, :29, :34], logits, atol=1e-6)


def test_a_last_step_of_squares_joins_the_image_and_says_each_of_their_pixels(drawn: Any) -> None:
    net = BackboneUNet(3, backbone=Halving, features=(5, 4), pixels=True, subpixels=2)
    x = np.random.default_rng(0).normal(size=(2, 29, 34, 1)).astype(np.float32)
    variables = drawn(net, x)
    logits, features = jax.jit(partial(net.apply, train=False))(variables, x)
    assert logits.shape == (2, 29, 34, 3) and features["up2"].shape == (2, 16, 20, 4)
    assert variables["params"]["up2"]["conv1"]["kernel"].shape[2] == 5 + 2 + 4  # the step below, the map, the image
    # Channel 3 (2 u + v) + k of the classifier is class k of pixel u, v of each square.
    last = variables["params"]["classifier"]
    only = {**last, "kernel": 0 * last["kernel"], "bias": jnp.arange(12.0)}
    logits, _ = jax.jit(partial(net.apply, train=False))(
        {**variables, "params": {**variables["params"], "classifier": only}}, x
    )
    np.testing.assert_array_equal(logits[0, 2:4, 6:8].reshape(4, 3), np.arange(12.0).reshape(4, 3))


@pytest.mark.parametrize(
    ("backbone", "steps"),
    [(convnext.convnext_tiny, 5), (vgg.vgg11, 4), (partial(resnet50d, inner=True), 5)],
    ids=["convnext", "vgg", "resnet_d"],
)
@pytest.mark.parametrize("size", [(37, 50), (1, 1)])
def test_any_backbone_and_any_size(backbone: Any, steps: int, size: tuple[int, int]) -> None:
    net = BackboneUNet(3, backbone=backbone, features=(16, 8, 8, 4, 4)[:steps])
    x = jax.ShapeDtypeStruct((2, *size, 3), "float32")
    (logits, _), variables = jax.eval_shape(partial(net.init_with_output, train=False), jax.random.key(0), x)
    assert logits.shape == (2, *size, 3) and "backbone" in variables["params"]


def test_steps_that_do_not_fit_the_backbone_are_said() -> None:
    net = BackboneUNet(3, backbone=vgg.vgg11)
    with pytest.raises(
        ValueError, match="5 steps enlarge a map of stride 32, but the backbone's strides are 1, 2, 4, 8"
    ):
        jax.eval_shape(partial(net.init, train=False), jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def test_the_map_before_the_pooling_of_a_stem_is_there_where_it_is_asked_for() -> None:
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")

    def maps(**fields: Any) -> dict[str, Any]:
        net = ResNet(None, blocks=(1, 1), features=4, **fields)
        return jax.eval_shape(partial(net.init_with_output, train=False), jax.random.key(0), x)[0]

    inner = maps(inner=True)
    assert inner.pop("unpooled").shape == (1, 16, 16, 4) and inner == maps()
    with pytest.raises(ValueError, match="inner=True is for imagenet_stem"):
        maps(inner=True, stem=small_image_stem)
