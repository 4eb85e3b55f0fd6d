"""U-Net's transposed convolution by its definition, its initialisation, and sizes that do not divide."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.unet import UNet, UpConv, unet


def test_up_conv_by_its_definition() -> None:
    draw = np.random.default_rng(0)
    x, kernel, bias = draw.normal(size=(2, 3, 5, 4)), draw.normal(size=(2, 2, 4, 6)), draw.normal(size=6)
    params = jax.tree.map(lambda a: jnp.asarray(a, "float32"), {"kernel": kernel, "bias": bias})
    got = UpConv(6).apply({"params": params}, jnp.asarray(x, "float32"))
    wanted = np.empty((2, 6, 10, 6))
    for i, j, u, v in np.ndindex(3, 5, 2, 2):
        wanted[:, 2 * i + u, 2 * j + v] = x[:, i, j] @ kernel[u, v] + bias
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_kernels_start_with_the_deviation_of_section_3(jit: Any) -> None:
    """sqrt(2 / N): a transposed convolution's output sees one tap of C inputs, a 3x3 convolution's nine."""
    up = UpConv(200).init(jax.random.key(0), jnp.zeros((1, 1, 1, 50)))["params"]["kernel"]
    assert up.std() == pytest.approx((2 / 50) ** 0.5, rel=0.02)
    net = UNet(classes=2, features=64, levels=1)
    params = jit(partial(net.init, train=False))(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))["params"]
    assert params["stage1"]["conv2"]["kernel"].std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("size", [(37, 50), (1, 1), (16, 31)])
def test_any_size(size: tuple[int, int]) -> None:
    x = jax.ShapeDtypeStruct((2, *size, 3), "float32")
    (logits, features), _ = jax.eval_shape(partial(unet().init_with_output, train=False), jax.random.key(0), x)
    assert logits.shape == (2, *size, 2)
    for level in range(1, 6):
        halved = tuple(-(-length // 2 ** (level - 1)) for length in size)
        assert features[f"stage{level}"].shape[1:3] == halved
        assert level == 5 or features[f"up{level}"].shape == features[f"stage{level}"].shape
