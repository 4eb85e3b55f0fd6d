"""Residual blocks and stems: what is added to what, and at which stride."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.layers import BatchNorm, Conv, GroupNorm
from cnn_jax.models.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    imagenet_stem,
    projection,
    resnet18,
    resnet18_small,
    small_image_stem,
)
from cnn_jax.ops.blur_pool import blur_pool

X = np.random.default_rng(0).normal(size=(2, 6, 6, 8)).astype(np.float32)


def build(block: Any, features: int, strides: int) -> nn.Module:
    conv = partial(Conv, use_bias=False)
    return block(features, strides, shortcut=projection, conv=conv, norm=BatchNorm, act=nn.relu)


@pytest.mark.parametrize(("block", "features"), [(BasicBlock, 8), (Bottleneck, 2)])
def test_block_with_a_silent_branch_is_the_activated_identity(block: Any, features: int) -> None:
    module = build(block, features, strides=1)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), X)
    assert "shortcut_conv" not in variables["params"]
    last = "norm2" if block is BasicBlock else "norm3"
    variables["params"][last]["scale"] = jnp.zeros(8)
    np.testing.assert_allclose(jax.jit(partial(module.apply, train=False))(variables, X), np.maximum(X, 0), atol=1e-6)


@pytest.mark.parametrize(("block", "features", "strided"), [(BasicBlock, 16, "conv1"), (Bottleneck, 4, "conv2")])
def test_block_projects_where_the_shape_changes(block: Any, features: int, strided: str) -> None:
    module = build(block, features, strides=2)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), X)
    assert variables["params"]["shortcut_conv"]["kernel"].shape == (1, 1, 8, 16)
    run = jax.jit(partial(module.apply, train=False, capture_intermediates=True))
    y, outputs = run(variables, X)
    assert y.shape == (2, 3, 3, 16)
    sizes = {name: value["__call__"][0].shape[1] for name, value in outputs["intermediates"].items() if "conv" in name}
    assert min(name for name, size in sizes.items() if size == 3) == strided


def test_every_bottleneck_parameter_gets_a_gradient() -> None:
    module = ResNet(classes=3, blocks=(1, 2), features=4, block=Bottleneck, norm=partial(GroupNorm, groups=2))
    x = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    params = jax.jit(partial(module.init, train=True))(jax.random.key(0), x)["params"]

    def loss(params: Any) -> jax.Array:
        logits, _ = module.apply({"params": params}, x, train=True)
        return jax.nn.log_softmax(logits)[:, 0].sum()

    grads = jax.jit(jax.grad(loss))(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_stem_pads_pooling_by_one_on_both_sides() -> None:
    """A convolution that passes its input on at stride 2 leaves 3x3 pooling: the first window sees rows -1, 0, 1."""
    image = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1) - 64
    y = imagenet_stem(
        jnp.asarray(image),
        1,
        conv=lambda features, kernel, strides, name: lambda x: x[:, ::strides, ::strides],
        norm=lambda name: lambda x, train: x,
        act=lambda x: x,
        train=False,
    )
    np.testing.assert_array_equal(
        y[0, :, :, 0], [[image[0, 2, 2, 0], image[0, 2, 6, 0]], [image[0, 6, 2, 0], image[0, 6, 6, 0]]]
    )


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (37, 64)])
def test_small_image_strides(shape: tuple[int, int]) -> None:
    x = jnp.ones((1, *shape, 1))
    module = resnet18_small()
    _, maps = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, train=False)[0], x)
    for stage, stride in enumerate((1, 2, 4, 8), 1):
        assert maps[f"stage{stage}"].shape[1:3] == tuple(-(-size // stride) for size in shape)


def test_published_variations_of_resnet18() -> None:
    assert count_params(resnet18_small(), (28, 28, 1)) == 11_172_810
    info = feature_info(resnet18(), (224, 224, 3))
    assert info == {"stem": (64, 4), "stage1": (64, 4), "stage2": (128, 8), "stage3": (256, 16), "stage4": (512, 32)}
    assert list(info) == ["stem", "stage1", "stage2", "stage3", "stage4"]


def test_group_norm_has_as_many_parameters_and_no_statistics() -> None:
    module = resnet18_small(norm=GroupNorm)
    variables = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    assert set(variables) == {"params"}
    assert count_params(module, (8, 8, 3)) == resnet18_small.params


def test_zero_init_starts_each_block_as_the_identity() -> None:
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    module = ResNet(classes=3, blocks=(2, 1), features=4, stem=small_image_stem, zero_init=True)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), x)
    scales = {path: value for path, value in flatten_dict(variables["params"], sep="/").items() if "scale" in path}
    zero = [path for path, value in scales.items() if not value.any()]
    assert sorted(zero) == [f"{block}/norm2/scale" for block in ("stage1_block1", "stage1_block2", "stage2_block1")]
    _, maps = jax.jit(partial(module.apply, train=False))(variables, x)
    np.testing.assert_array_equal(maps["stem"], maps["stage1"])


def test_bottleneck_width_and_groups() -> None:
    conv: Any = partial(Conv, use_bias=False)
    wide, grouped = (
        Bottleneck(8, 1, shortcut=projection, conv=conv, norm=BatchNorm, act=nn.relu, **fields)
        for fields in ({"width": 128}, {"groups": 4, "width": 32})
    )
    for block, shape in ((wide, (3, 3, 16, 16)), (grouped, (3, 3, 4, 16))):
        variables = jax.eval_shape(partial(block.init, train=False), jax.random.key(0), X)
        assert variables["params"]["conv2"]["kernel"].shape == shape


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_injected_downsampling_takes_the_stride_over(block: Any) -> None:
    """It is given the whole map, once, and what it makes of it goes on."""
    calls = []

    def spy(x: jax.Array, strides: int) -> jax.Array:
        calls.append((x.shape, strides))
        return blur_pool(x, strides)

    module = ResNet(classes=3, blocks=(1, 1), features=4, stem=small_image_stem, block=block, downsample=spy)
    x = jnp.ones((2, 8, 8, 3))
    (_, maps), _ = jax.eval_shape(partial(module.init_with_output, train=False), jax.random.key(0), x)
    assert calls == [((2, 8, 8, 8), 2)] and maps["stage2"].shape[1:3] == (4, 4)


def test_attention_is_part_of_the_branch_not_of_the_shortcut() -> None:
    """A branch that is weighed with 0 leaves the activated identity."""
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)

    def nothing(dtype: Any, name: str) -> Any:
        return lambda y: 0 * y

    module = ResNet(classes=3, blocks=(1,), features=4, stem=small_image_stem, attention=nothing)
    (_, maps), _ = jax.jit(partial(module.init_with_output, train=False))(jax.random.key(0), x)
    np.testing.assert_array_equal(maps["stem"], maps["stage1"])
