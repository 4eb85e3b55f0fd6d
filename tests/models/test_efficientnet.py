"""Padding and preprocessing, which differ between the TensorFlow-born Lite and the others."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from cnn_jax.models.efficientnet import efficientnet_b0, efficientnet_lite0
from cnn_jax.models.inverted_residual import InvertedResidualNet
from cnn_jax.models.variant import Variant


class Identity(nn.Module):
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return x


@pytest.mark.parametrize(("variant", "first"), [(efficientnet_lite0, 0), (efficientnet_b0, -1)])
def test_first_window_of_the_stem(variant: Variant, first: int) -> None:
    """A kernel that picks its upper left tap shows where windows begin: on an even size, SAME pads the end only."""
    whole: Any = variant()
    stem = InvertedResidualNet(1, stages=(), blocks=(), stem=1, head=1, conv=whole.conv, norm=Identity, act=lambda x: x)
    image = np.arange(1, 65, dtype=np.float32).reshape(1, 8, 8, 1)
    variables = jax.jit(partial(stem.init, train=False))(jax.random.key(0), image)
    variables["params"]["stem_conv"]["kernel"] = np.eye(1, 9, dtype=np.float32).reshape(3, 3, 1, 1)
    _, features = jax.jit(partial(stem.apply, train=False))(variables, image)
    padded = np.pad(image[0, :, :, 0], ((1, 0), (1, 0)))
    np.testing.assert_array_equal(features["stem"][0, :, :, 0], padded[1 + first :: 2, 1 + first :: 2][:4, :4])


def test_lite_reads_pixels_minus_127_over_128() -> None:
    facts = efficientnet_lite0.preprocessing
    assert facts is not None
    pixels = np.array([[0.0] * 3, [127.0] * 3, [255.0] * 3])
    np.testing.assert_allclose((pixels / 255 - facts.mean) / facts.std, (pixels - 127) / 128)
