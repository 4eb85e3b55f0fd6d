"""Which positions a map ranks first."""

import jax
import jax.numpy as jnp


def ranks(attribution: jax.Array, key: jax.Array) -> jax.Array:
    """The place of each number of a map [B, ...] among those of its example, 0 for the largest, as int32 [B, ...].

    Numbers that are equal, as on the plateaus of a CAM, are ordered at random: any fixed order, as from the top left,
    would be a prior that the map does not have.
    """
    flat = attribution.reshape(len(attribution), -1)
    order = jnp.lexsort((jax.random.uniform(key, flat.shape), -flat), axis=-1)
    return jnp.argsort(order, axis=-1).astype(jnp.int32).reshape(attribution.shape)


def tied(attribution: jax.Array) -> jax.Array:
    """The share [B] of a map's numbers that another one of the same example equals."""
    values = jnp.sort(attribution.reshape(len(attribution), -1), axis=-1)
    same = values[:, 1:] == values[:, :-1]
    edge = jnp.zeros((len(values), 1), bool)
    return (jnp.concatenate([same, edge], 1) | jnp.concatenate([edge, same], 1)).mean(1)
