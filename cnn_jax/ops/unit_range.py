"""Bytes to the unit interval."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp


def unit_range(batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The batch with every uint8 array as float32 in [0, 1] (x / 255); everything else as it is."""
    return {k: v.astype(jnp.float32) / 255 if v.dtype == jnp.uint8 else v for k, v in batch.items()}
