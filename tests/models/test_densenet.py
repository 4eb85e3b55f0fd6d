"""DenseNet-BC against the paper's layer rules in closed form, and what is concatenated to what."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.densenet import (
    DenseLayer,
    DenseNet,
    densenet121,
    densenet_bc_100_12,
    densenet_bc_190_40,
    plain_stem,
)
from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.variant import Variant


def closed_form(depth: int, growth: int, size: int = 32) -> tuple[int, int]:
    """(params, MACs) of DenseNet-BC for ten classes: n = (depth - 4) / 6 layers in each of three blocks."""
    width = 2 * growth
    params = macs = 0

    def convolution(inputs: int, outputs: int, kernel: int) -> None:
        nonlocal params, macs
        params += kernel**2 * inputs * outputs
        macs += size**2 * kernel**2 * inputs * outputs

    convolution(3, width, 3)
    for block in range(3):
        if block:
            params += 2 * width
            convolution(width, width // 2, 1)
            width, size = width // 2, size // 2
        for _ in range((depth - 4) // 6):
            params += 2 * width + 2 * 4 * growth
            convolution(width, 4 * growth, 1)
            convolution(4 * growth, growth, 3)
            width += growth
    return params + 2 * width + 10 * width + 10, macs + 10 * width


@pytest.mark.parametrize(("variant", "depth", "growth"), [(densenet_bc_100_12, 100, 12), (densenet_bc_190_40, 190, 40)])
def test_counts_in_closed_form(variant: Variant, depth: int, growth: int) -> None:
    assert (variant.params, variant.macs) == closed_form(depth, growth)


def test_earlier_maps_come_first_and_untouched() -> None:
    module = DenseNet(classes=3, blocks=(2, 1), growth=4, stem=plain_stem)
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), x)
    _, maps = jax.jit(partial(module.apply, train=False))(variables, x)
    assert [maps[name].shape for name in ("stem", "stage1", "stage2")] == [(2, 4, 6, 8), (2, 4, 6, 16), (2, 2, 3, 12)]
    np.testing.assert_array_equal(maps["stage1"][..., :8], maps["stem"])
    assert (maps["stem"] < 0).any() and (maps["stage2"] >= 0).all()  # only the last is activated


def test_norm_and_activation_precede_both_convolutions() -> None:
    """Nothing is left of a strongly negative input: the new maps are zeros."""
    layer = DenseLayer(4, 0.0, conv=partial(Conv, use_bias=False), norm=BatchNorm, act=jax.nn.relu)
    x = -100 * np.ones((1, 3, 3, 5), np.float32)
    variables = jax.jit(partial(layer.init, train=False))(jax.random.key(0), x)
    np.testing.assert_array_equal(jax.jit(partial(layer.apply, train=False))(variables, x), np.zeros((1, 3, 3, 4)))


def test_smallest_input() -> None:
    def shape(size: int) -> tuple[int, ...]:
        x = jnp.ones((1, size, 40, 3))
        _, maps = jax.eval_shape(
            lambda x: densenet121(blocks=(1, 1, 1, 1)).init_with_output(jax.random.key(0), x, train=False)[0], x
        )
        return maps["stage4"].shape

    assert shape(29) == (1, 1, 1, 68)
    with pytest.raises(ValueError, match=r"^DenseNet after its stem reads .* of size 8 or more, not \(1, 7, 10, 64\)"):
        shape(28)
