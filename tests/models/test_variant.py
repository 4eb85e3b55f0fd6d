"""The functions that measure a model, on modules small enough to count by hand."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.variant import Variant, count_macs, count_params, feature_info


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
tiny = Variant(
    build=partial(Tiny), input_shape=(9, 9, 2), classes=10, params=TINY_PARAMS, macs=TINY_MACS, source="by hand"
)


def test_counts_by_hand() -> None:
    assert count_params(tiny(), tiny.input_shape) == TINY_PARAMS
    assert count_macs(tiny(), tiny.input_shape) == TINY_MACS


def test_feature_info_is_in_network_order_and_exact_for_unpadded_maps() -> None:
    info = feature_info(tiny(), tiny.input_shape)
    assert list(info.items()) == [("z_first", (4, 2)), ("a_second", (6, 2))]


def test_variant_builds_with_other_fields() -> None:
    assert tiny().classes == 10
    module = tiny(classes=3, dtype=jnp.bfloat16)
    assert module.classes == 3 and module.dtype == jnp.bfloat16


def test_unknown_field_is_one_line_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"^Tiny has no field 'clases': did you mean 'classes'\?$"):
        tiny(clases=3)


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


def test_macs_of_a_transposed_convolution_skip_the_zeros_between_its_inputs() -> None:
    up = partial(jax.lax.conv_transpose, rhs=jnp.ones((2, 2, 3, 7)), strides=(2, 2), padding="VALID")
    assert count_macs(Function(up), (4, 4, 3)) == 4 * 4 * (2 * 2 * 3 * 7)
