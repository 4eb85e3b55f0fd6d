"""Batches for the augmentations."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.batch import VALID, Batch
from cnn_jax.data.spec import Field, Role

Make = Callable[..., Batch]


@pytest.fixture(scope="session")
def make_batch() -> Make:
    """(arrays [B, ...], roles, range) -> batch. A field without a given role is called what its role is."""

    def make(
        arrays: Mapping[str, Any],
        roles: Mapping[str, Role] | None = None,
        range: tuple[float, float] | None = (0.0, 1.0),
    ) -> Batch:
        placed = {name: jnp.asarray(array) for name, array in arrays.items()}
        known: dict[str, Any] = {**{name: name for name in arrays}, **(roles or {})}
        fields = {
            name: Field(known[name], array.shape[1:], str(array.dtype), range if known[name] == "image" else None)
            for name, array in placed.items()
        }
        size = len(next(iter(placed.values())))
        return Batch({**placed, VALID: jnp.ones(size)}, fields)

    return make


@pytest.fixture(scope="session")
def keys() -> Callable[..., jax.Array]:
    """(count, seed) -> keys [count] as a training step makes them: those of a longer batch begin with them."""
    return lambda count, seed=0: jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(count))
