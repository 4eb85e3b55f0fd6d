"""One-dimensional networks of a few random operations, and quick compilation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnn_jax.models.layers import Conv
from cnn_jax.ops.pooling import avg_pool, max_pool


class Chain(nn.Module):
    """[B, L, 4] -> features "0", "1", ...: one for each of `steps`, (name, numbers...) of the operation."""

    steps: tuple[tuple[Any, ...], ...]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        features = {}
        for i, (name, *numbers) in enumerate(self.steps):
            match name, *numbers:
                case "conv", k, s, d, pad:
                    x = Conv(4, (k,), s, dilation=d, padding=((pad, pad),), groups=2)(x)
                case "transposed", k, s:
                    x = nn.ConvTranspose(4, (k,), (s,), padding="VALID")(x)
                case "max", k, s:
                    x = max_pool(x, k, s)
                case "mean", k, s:
                    x = avg_pool(x, k, s)
                case "window", k, s:
                    x = nn.max_pool(x, (k,), (s,))
                case "repeat", n:
                    x = x.repeat(n, axis=1)
                case "fold", n:  # positions to channels and back: the outermost axis of a reshape is the spatial one
                    x = x[:, : x.shape[1] // n * n]
                    x = x.reshape(len(x), -1, n, 4).transpose(0, 1, 3, 2)[..., ::-1].sum(-1)
                case "branches", k:  # half of the channels passes a convolution, and the halves are shuffled
                    a, b = jnp.split(x, 2, axis=-1)
                    b = Conv(2, (k,))(b)
                    x = jnp.stack([a, b], axis=-1).reshape(x.shape)
                case "residual", k:
                    x = nn.relu(x + Conv(4, (k,))(x))
            features[str(i)] = x
        return x.mean(1), features


@pytest.fixture(scope="session")
def chain() -> type[Chain]:
    return Chain


@pytest.fixture(scope="session")
def jit() -> Callable[..., Any]:
    """jax.jit without the expensive passes of the compiler."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return partial(jax.jit, compiler_options=options)
