"""Attention against its definition in NumPy, and at the end of a ResNet's branches."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.attention import CBAM, ECA, SqueezeExcite
from cnn_jax.models.resnet import ResNet, small_image_stem

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 9, 32)).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def initialised(module: Any, x: np.ndarray = X) -> tuple[np.ndarray, Any]:
    y, variables = module.init_with_output(jax.random.key(0), x)
    return np.asarray(y), variables["params"]


def test_squeeze_excite_has_a_bottleneck_of_a_sixteenth() -> None:
    y, params = initialised(SqueezeExcite())
    hidden = np.maximum(X.mean((1, 2)) @ params["reduce"]["kernel"][0, 0], 0)  # biases start at 0
    assert hidden.shape == (2, 2)
    np.testing.assert_allclose(y, X * sigmoid(hidden @ params["expand"]["kernel"][0, 0])[:, None, None], atol=1e-5)


def test_eca_slides_over_the_channels() -> None:
    y, params = initialised(ECA())
    kernel = np.asarray(params["conv"]["kernel"]).ravel()
    means = np.pad(X.mean((1, 2)), ((0, 0), (1, 1)))
    weights = sigmoid(sum(kernel[i] * means[:, i : i + 32] for i in range(3)))
    np.testing.assert_allclose(y, X * weights[:, None, None], atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(1, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_eca_reaches_further_where_there_are_more_channels(channels: int, size: int) -> None:
    _, params = jax.eval_shape(initialised_shapes(ECA()), jnp.ones((1, 1, 1, channels)))
    assert params["params"]["conv"]["kernel"].shape == (size, 1, 1)


def initialised_shapes(module: Any) -> Any:
    return partial(module.init_with_output, jax.random.key(0))


def test_cbam_weighs_channels_then_positions() -> None:
    y, params = initialised(CBAM(reduced=3))
    reduce, expand = (params[name]["kernel"][0, 0] for name in ("reduce", "expand"))
    both = sum(np.maximum(pooled @ reduce, 0) @ expand for pooled in (X.mean((1, 2)), X.max((1, 2))))
    weighed = X * sigmoid(both)[:, None, None]
    maps = np.pad(np.stack([weighed.mean(-1), weighed.max(-1)], -1), ((0, 0), (3, 3), (3, 3), (0, 0)))
    spatial = np.asarray(params["spatial"]["kernel"])[..., 0]
    seen = sum((maps[:, i : i + 8, j : j + 9] * spatial[i, j]).sum(-1) for i, j in np.ndindex(7, 7))
    np.testing.assert_allclose(y, weighed * sigmoid(seen)[..., None], atol=1e-5)


@pytest.mark.parametrize("attention", [SqueezeExcite, ECA, CBAM])
def test_a_resnet_takes_it_by_one_argument(attention: Any) -> None:
    module = ResNet(
        classes=3, blocks=(1, 1), features=4, stem=small_image_stem, attention=attention, dtype=jnp.bfloat16
    )
    (_, features), variables = jax.eval_shape(
        partial(module.init_with_output, train=False), jax.random.key(0), jnp.ones((2, 8, 8, 3))
    )
    assert features["stage2"].dtype == jnp.bfloat16
    assert all("attention" in variables["params"][f"stage{stage}_block1"] for stage in (1, 2))
