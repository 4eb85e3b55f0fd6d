"""The networks for MNIST-1D: layer tables by hand, and the sizes they read."""

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.mnist1d_cnn import conv_base, deep


def test_conv_base_by_layer() -> None:
    """A length of 40 becomes 19, 10 and 5."""
    assert conv_base.params == (5 * 25 + 25) + 2 * (3 * 25 * 25 + 25) + (5 * 25 * 10 + 10)
    assert conv_base.macs == 19 * 5 * 25 + (10 + 5) * 3 * 25 * 25 + 1250
    assert feature_info(conv_base(), (40, 1)) == {"stage1": (25, 2), "stage2": (25, 4), "stage3": (25, 8)}


def test_deep_by_layer() -> None:
    """Lengths 40, 20 and 10; six convolutions of width 5, a norm after each."""
    widths = [1, 32, 32, 64, 64, 80, 80]
    convs = [5 * before * after for before, after in zip(widths, widths[1:], strict=False)]
    assert deep.params == sum(convs) + 2 * sum(widths[1:]) + 810
    assert deep.macs == 40 * sum(convs[:2]) + 20 * sum(convs[2:4]) + 10 * sum(convs[4:]) + 800
    assert feature_info(deep(), (40, 1)) == {"stage1": (32, 1), "stage2": (64, 2), "stage3": (80, 4)}


def test_images_and_short_signals_are_refused() -> None:
    for x in (jnp.ones((1, 2, 1)), jnp.ones((1, 28, 28, 1))):
        with pytest.raises(ValueError, match=r"^ConvBase reads \[B, L, C\] of size 3 or more"):
            conv_base().init(jax.random.key(0), x, train=False)
