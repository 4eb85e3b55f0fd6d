"""Parameters, multiply-adds and strides of modules that are small enough to count by hand."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnn_jax.inspect.anatomy import count_macs, count_params, layers
from cnn_jax.inspect.program import trace
from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.layers import BatchNorm, Conv


class Tiny(nn.Module):
    """9x9x2 -> 5x5x4 (grouped, stride 2) -> 3x3x6 (no padding) -> classes."""

    classes: int
    conv: Any = Conv
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        features = {"z_first": self.conv(4, (3, 3), 2, groups=2)(x)}
        features["a_second"] = x = self.conv(6, (3, 3), padding=0)(BatchNorm()(features["z_first"], train=train))
        features["pooled"] = x = x.mean((1, 2))
        return nn.Dense(self.classes)(x), features


TINY_PARAMS = (9 * 1 * 4 + 4) + 2 * 4 + (9 * 4 * 6 + 6) + (6 * 10 + 10)
TINY_MACS = 25 * 9 * 1 * 4 + 9 * 9 * 4 * 6 + 60


def test_feature_info_is_in_network_order_and_exact_for_unpadded_maps() -> None:
    info = feature_info(Tiny(10), (9, 9, 2))
    assert list(info.items()) == [("z_first", (4, 2)), ("a_second", (6, 2))]


def test_counts_by_hand() -> None:
    assert count_params(Tiny(10), (9, 9, 2)) == TINY_PARAMS
    assert count_macs(Tiny(10), (9, 9, 2)) == TINY_MACS


class Function(nn.Module):
    """A function of the input as a module."""

    function: Any

    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        return self.function(x), {}


W = jnp.ones((5, 5))


def _product(x: jax.Array) -> jax.Array:
    return x @ W


_custom = jax.custom_vjp(_product)
_custom.defvjp(lambda x: (_product(x), x), lambda _, g: (g @ W.T,))


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (_product, 1),
        (jax.jit(_product), 1),
        (jax.checkpoint(_product), 1),
        (_custom, 1),
        (jax.vmap(_product), 1),
        (lambda x: jax.lax.scan(lambda c, _: (jax.jit(_product)(c), None), x, length=7)[0], 7),
        (lambda x: jax.lax.cond(x[0, 0] > 0, _product, lambda x: x, x), 1),
        (lambda x: jnp.einsum("bi,ij,jk->bk", x, W, W, optimize="optimal"), 2),
        (lambda x: x + 1, 0),
    ],
)
def test_macs_inside_other_equations(function: Any, products: int) -> None:
    assert count_macs(Function(function), (5,)) == products * 25
    assert sum(layer.macs for layer in layers(trace(Function(function), (5,), batch=3))) == 3 * products * 25


def test_macs_of_a_transposed_convolution_skip_the_zeros_between_its_inputs() -> None:
    up = partial(jax.lax.conv_transpose, rhs=jnp.ones((2, 2, 3, 7)), strides=(2, 2), padding="VALID")
    assert count_macs(Function(up), (4, 4, 3)) == 4 * 4 * (2 * 2 * 3 * 7)
