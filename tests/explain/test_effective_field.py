"""The effective receptive field of linear networks, which is known."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.explain.effective_field import effective_field, effective_size
from cnn_jax.models.layers import Conv


class Stack(nn.Module):
    """[B, L, C] -> `depth` convolutions of width 3, all weights 1."""

    depth: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for _ in range(self.depth):
            x = Conv(2, (3,), kernel_init=nn.initializers.ones)(x)
        return x.mean(1), {"last": x, "pooled": x.mean(1)}


def test_equal_weights_give_the_coefficients_of_a_polynomial() -> None:
    """(1 + x + x^2)^n, the paper's section 2.2.1: a bell whose variance is 2 n / 3."""
    model, images = Stack(depth=6), jax.random.normal(jax.random.key(0), (3, 21, 1))
    variables = model.init(jax.random.key(1), images, train=False)
    field = effective_field(model, variables, images, "last")
    expected = np.ones(1)
    for _ in range(6):
        expected = np.convolve(expected, np.ones(3))
    np.testing.assert_allclose(field, np.pad(expected / expected.sum(), 4), rtol=1e-5)
    offset = np.arange(21) - 10
    assert (field * offset**2).sum() == pytest.approx(2 * 6 / 3)


class Gate(nn.Module):
    """[B, H, W, C] -> a 3 x 1 convolution, off where it is negative."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = nn.relu(Conv(1, (3, 1), use_bias=False, name="conv")(x))
        return x.mean((1, 2)), {"map": x}


def test_images_and_channels_are_averaged() -> None:
    """The kernel is the gradient where the unit is on: it is for one of two images. Signs do not matter."""
    kernel = np.array([[1.0, -1.0], [2.0, 3.0], [4.0, 0.0]])  # taps, channels
    variables = {"params": {"conv": {"kernel": jnp.asarray(kernel).reshape(3, 1, 2, 1)}}}
    images = jnp.stack([jnp.ones((5, 4, 2)), -jnp.ones((5, 4, 2))])
    field = effective_field(Gate(), variables, images, "map")
    expected = np.zeros((5, 4))
    expected[1:4, 2] = np.array([2.0, 5.0, 4.0]) / 11.0
    np.testing.assert_allclose(field, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="zero"):
        effective_field(Gate(), variables, images[1:], "map")


def test_feature_must_be_a_map() -> None:
    model, images = Stack(depth=1), jnp.ones((1, 5, 1))
    variables = model.init(jax.random.key(1), images, train=False)
    for name in ("pooled", "lost"):
        with pytest.raises(ValueError, match=f"'{name}' is no feature map of the model: it has last"):
            effective_field(model, variables, images, name)


def test_size_of_a_normal_distribution() -> None:
    """In two dimensions a disc of radius r holds 1 - exp(-r^2 / 2 s^2)."""
    spread, energy = 12.0, 0.9545
    y, x = np.mgrid[-64:65, -64:65]
    field = np.exp(-(x**2 + y**2) / (2 * spread**2))
    area = -2 * math.pi * spread**2 * math.log(1 - energy)
    assert effective_size(field, energy) == pytest.approx(math.sqrt(area), rel=0.01)


def test_size_counts_the_fewest_positions() -> None:
    assert effective_size(np.full((4, 4), 1 / 16), 1.0) == 4.0
    assert effective_size(np.full((4, 4), 1 / 16), 0.25) == 2.0
    assert effective_size(np.array([0.1, 0.6, 0.3]), 0.7) == 2.0
    for energy in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="energy"):
            effective_size(np.ones(3), energy)
