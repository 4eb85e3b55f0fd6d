"""What a model returns with and without classes; that all families keep to the rule is in test_contract.py."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.googlenet import googlenet
from cnn_jax.models.heads import class_maps, classified, features_of
from cnn_jax.models.hrnet import hrnet_w18_small
from cnn_jax.models.inception_v3 import inception_v3
from cnn_jax.models.layers import Conv
from cnn_jax.models.mobilenet_v1 import mobilenet_v1_025
from cnn_jax.models.mobilenet_v2 import mobilenet_v2_050
from cnn_jax.models.mobilenet_v3 import mobilenet_v3_small
from cnn_jax.models.resnet import resnet18_small
from cnn_jax.models.squeezenet import squeezenet1_1
from cnn_jax.models.unet import unet_small
from cnn_jax.models.variant import Variant
from cnn_jax.models.vgg import vgg11
from cnn_jax.models.xception import xception


class Tiny(nn.Module):
    """A map that is its input, and a classifier with the settings given."""

    classes: int | None
    settings: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        return classified(x, {"map": x}, self.classes, **self.settings)


def test_the_classifier_is_a_layer_of_the_model_itself() -> None:
    x = jnp.ones((2, 3))
    model = Tiny(5, {"kernel_init": nn.initializers.ones})
    (logits, features), variables = model.init_with_output(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"classifier": {"kernel": (3, 5), "bias": (5,)}}}
    np.testing.assert_array_equal(logits, np.full((2, 5), 3.0))
    assert features_of((logits, features)) is features


def test_without_classes_there_is_no_layer() -> None:
    x = jnp.ones((2, 3))
    features, variables = Tiny(None, {}).init_with_output(jax.random.key(0), x)
    assert variables == {} and set(features) == {"map"}
    assert features_of(features) is features


def test_class_maps_are_activated_before_they_are_averaged() -> None:
    x = jnp.asarray([[[[1.0], [-3.0]]]])
    conv = partial(Conv, kernel_init=nn.initializers.ones)
    model = Tiny(2, {"layer": class_maps, "conv": conv, "act": nn.relu})
    (logits, _), variables = model.init_with_output(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"classifier": {"kernel": (1, 1, 1, 2), "bias": (2,)}}}
    np.testing.assert_array_equal(logits, [[0.5, 0.5]])  # the mean of 1 and 0; the other order would give 0


@pytest.mark.parametrize(
    ("variant", "names"),
    [
        (resnet18_small, ["stem", "stage1", "stage2", "stage3", "stage4", "pooled"]),
        (vgg11, ["stage1", "stage2", "stage3", "stage4", "stage5"]),
        (mobilenet_v3_small, ["stem", "block1", "block3", "block8", "block11", "block12", "pooled"]),
        (hrnet_w18_small, ["stem", "stage1", "branch1", "branch2", "branch3", "branch4"]),
        (unet_small, ["stage1", "stage2", "stage3", "stage4", "stage5", "up4", "up3", "up2", "up1"]),
    ],
    ids=["resnet", "vgg", "mobilenet_v3", "hrnet", "unet"],
)
def test_features_of_backbones(variant: Variant, names: list[str]) -> None:
    module: Any = variant(classes=None)
    x, order = jax.ShapeDtypeStruct((1, *variant.input_shape), "float32"), []

    def forward(key: jax.Array, x: jax.Array) -> Any:
        features, variables = module.init_with_output(key, x, train=False)
        order.extend(features)  # a dict comes out of a trace with its keys sorted
        return variables

    variables = jax.eval_shape(forward, jax.random.key(0), x)
    assert order == names
    assert not {"classifier", "fc1", "hidden", "head_conv"} & set(variables["params"])


@pytest.mark.parametrize(
    "variant",
    [googlenet, inception_v3, mobilenet_v1_025, mobilenet_v2_050, mobilenet_v3_small, squeezenet1_1, xception],
)
def test_a_backbone_has_no_dropout_of_the_classifier(variant: Variant) -> None:
    """Training it needs no random key; training the whole model does."""
    x = jax.ShapeDtypeStruct((1, *variant.input_shape), "float32")

    def train(classes: int | None) -> Any:
        module = variant(classes=classes, dropout=0.5)
        variables = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x)
        return jax.eval_shape(partial(module.apply, train=True, mutable=["batch_stats"]), variables, x)

    train(None)
    with pytest.raises(Exception, match="dropout"):
        train(10)
