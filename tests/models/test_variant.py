"""A variant builds its module, with other fields where they are asked for."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnn_jax.models.variant import Variant


class Tiny(nn.Module):
    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        return nn.Dense(self.classes, dtype=self.dtype)(x), {}


tiny = Variant(build=partial(Tiny), input_shape=(2,), classes=10, params=30, macs=20, source="by hand")


def test_variant_builds_with_other_fields() -> None:
    assert tiny().classes == 10
    module = tiny(classes=3, dtype=jnp.bfloat16)
    assert module.classes == 3 and module.dtype == jnp.bfloat16


def test_unknown_field_is_one_line_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"^Tiny has no field 'clases': did you mean 'classes'\?$"):
        tiny(clases=3)
