"""The Res2Net block against its definition, written out in NumPy with 1x1 windows in place of 3x3."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.layers import Conv
from cnn_jax.models.norms import no_activation
from cnn_jax.models.res2net import Res2NetBlock
from cnn_jax.ops.blur_pool import blur_pool

RNG = np.random.default_rng(0)


def pointwise(features: int, kernel_size: Any, strides: int = 1, *, dilation: int = 1, name: str) -> Any:
    """A 1x1 convolution, on which a dilation would have no effect."""
    return Conv(features, (1, 1), strides, use_bias=False, name=name)


def no_norm(name: str) -> Any:
    return lambda x, train: x


def block(strides: int, **fields: Any) -> Res2NetBlock:
    return Res2NetBlock(
        features=4, strides=strides, shortcut=lambda x, *_, **__: 0, conv=pointwise, norm=no_norm, act=no_activation,
        scales=4, width=32, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(("strides", "channels"), [(1, 16), (1, 8), (2, 16)])
def test_hierarchy_of_scales(strides: int, channels: int) -> None:
    """Groups of 4 x 32 / 64 = 2 channels: each convolution reads its group, plus the result before in a plain block."""
    x = RNG.normal(size=(2, 5, 4, channels)).astype(np.float32)
    y, variables = block(strides).init_with_output(jax.random.key(0), x, train=False)
    kernels = {name: np.asarray(value["kernel"])[0, 0] for name, value in variables["params"].items()}
    first, second, third, last = np.split(x @ kernels["conv1"], 4, axis=-1)
    plain = channels == 16 and strides == 1
    a = (first @ kernels["conv2_1"])[:, ::strides, ::strides]
    b = (second[:, ::strides, ::strides] + plain * a) if plain else second[:, ::strides, ::strides]
    b = b @ kernels["conv2_2"]
    c = (third[:, ::strides, ::strides] + (b if plain else 0)) @ kernels["conv2_3"]
    if not plain:
        padded = np.pad(last, ((0, 0), (1, 1), (1, 1), (0, 0)))
        last = sum(padded[:, i : i + 5, j : j + 4] for i, j in np.ndindex(3, 3))[:, ::strides, ::strides] / 9
    np.testing.assert_allclose(y, np.concatenate([a, b, c, last], -1) @ kernels["conv3"], atol=1e-4)


def test_downsampling_can_be_injected() -> None:
    x = jnp.asarray(RNG.normal(size=(2, 6, 6, 16)).astype(np.float32))
    plain, variables = block(2).init_with_output(jax.random.key(0), x, train=False)
    blurred = partial(block(2, downsample=blur_pool).apply, train=False)(variables, x)
    assert blurred.shape == plain.shape and np.abs(blurred - plain).max() > 0.1
