"""SqueezeNet: a fire module in NumPy, maps that poolings cover to their end, the sizes that it reads."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.layers import Conv
from cnn_jax.models.squeezenet import Fire, squeezenet1_0, squeezenet1_1
from cnn_jax.models.variant import Variant


def test_fire_module() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    module = Fire(2, Conv, nn.relu)
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases count
    y = jax.jit(module.apply)({"params": params}, x)

    kernel = {name: np.asarray(layer["kernel"]) for name, layer in params.items()}
    squeezed = np.maximum(x @ kernel["squeeze"][0, 0] + 0.1, 0)
    padded = np.pad(squeezed, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + 4, j : j + 3] @ kernel["expand3x3"][i, j] for i in range(3) for j in range(3)]
    wanted = np.concatenate([squeezed @ kernel["expand1x1"][0, 0], sum(shifted)], -1) + 0.1
    assert y.shape == (2, 4, 3, 16)
    np.testing.assert_allclose(y, np.maximum(wanted, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("variant", "sizes"), [(squeezenet1_0, (109, 54, 27, 13, 512)), (squeezenet1_1, (111, 55, 27, 13, 512))]
)
def test_maps_of_the_published_size(variant: Variant, sizes: tuple[int, ...]) -> None:
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")
    (_, features), variables = jax.eval_shape(partial(variant().init_with_output, train=False), jax.random.key(0), x)
    assert tuple(features[name].shape[1] for name in ("stem", "stage1", "stage2", "stage3", "pooled")) == sizes
    fires = [name.partition("_fire")[2] for name in variables["params"] if "_fire" in name]
    assert sorted(fires) == list("23456789")


@pytest.mark.parametrize(("variant", "smallest"), [(squeezenet1_0, 21), (squeezenet1_1, 17)])
def test_smallest_size_leaves_one_position(variant: Variant, smallest: int) -> None:
    x = jnp.zeros((1, smallest, 40, 3))
    (_, features), _ = jax.eval_shape(lambda x: variant().init_with_output(jax.random.key(0), x, train=False), x)
    assert features["stage3"].shape[1] == 1
    with pytest.raises(ValueError, match=rf"^SqueezeNet reads \[B, H, W, C\] of size {smallest} or more, not"):
        feature_info(variant(), (smallest - 1, 40, 3))
