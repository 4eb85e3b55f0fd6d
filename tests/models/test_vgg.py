"""VGG: layers as the paper counts them, features before each pooling, the sizes that it reads."""

from functools import partial

import jax
import numpy as np
import pytest

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.inspect.stages import feature_info
from cnn_jax.models import vgg
from cnn_jax.models.layers import GroupNorm
from cnn_jax.models.variant import Variant
from cnn_jax.models.vgg import vgg11, vgg11_bn


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_depth_counts_the_layers_with_weights(depth: int) -> None:
    variant: Variant = getattr(vgg, f"vgg{depth}")
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    variables = jax.eval_shape(partial(variant().init, train=False), jax.random.key(0), x)
    assert len(variables["params"]) == depth
    convolutions = [int(name.partition("_conv")[2]) for name in variables["params"] if "_conv" in name]
    assert sorted(convolutions) == list(range(1, depth - 2))


def test_features_are_pooled_for_the_next_stage_only() -> None:
    """Convolutions that only pass a map on: the next feature is the 2x2 maximum of the one before."""
    module = vgg11(conv=lambda features, kernel, dtype, name: lambda x: x[..., :1], hidden=1)
    x = np.random.default_rng(0).uniform(size=(1, 32, 48, 1)).astype(np.float32)
    (_, features), _ = jax.jit(partial(module.init_with_output, train=False))(jax.random.key(0), x)
    np.testing.assert_array_equal(features["stage1"], x)
    for stage in range(2, 6):
        x = x.reshape(1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, 1).max((2, 4))
        np.testing.assert_array_equal(features[f"stage{stage}"], x)


def test_a_norm_adds_its_own_parameters_and_keeps_the_biases() -> None:
    channels = 64 + 128 + 2 * 256 + 4 * 512
    assert vgg11_bn.params - vgg11.params == 2 * channels
    assert count_params(vgg11(norm=GroupNorm), (32, 32, 3)) == vgg11_bn.params


def test_any_size_from_32_has_the_same_parameters() -> None:
    assert count_params(vgg11(), (32, 100, 3)) == vgg11.params
    with pytest.raises(ValueError, match=r"^VGG reads \[B, H, W, C\] of size 32 or more, not \(1, 40, 31, 3\)"):
        feature_info(vgg11(), (40, 31, 3))
