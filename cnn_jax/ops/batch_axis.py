"""The device axis of the batch: the one place that knows how the train step was compiled.

The step runs either as one global program (`jit` + NamedSharding: arrays hold the whole batch) or as one program per
device (`pmap`, `shard_map`: arrays hold the local part of the batch and the named axis AXIS is bound). Whatever needs
the whole batch calls these functions, so both programs compute the same numbers.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp

AXIS = "batch"

Tree = TypeVar("Tree")


def _bound() -> bool:
    try:
        jax.lax.axis_size(AXIS)
    except NameError:
        return False
    return True


def mean_over_devices(tree: Tree) -> Tree:
    """The mean of each array of `tree` over the devices in a per-device program, `tree` itself in a global one."""
    return jax.lax.pmean(tree, AXIS) if _bound() else tree


def sum_over_devices(tree: Tree) -> Tree:
    """The sum of each array of `tree` over the devices in a per-device program, `tree` itself in a global one."""
    return jax.lax.psum(tree, AXIS) if _bound() else tree


def first_example(local_batch: int) -> jax.Array:
    """int32 position, in the global batch, of the first of this program's `local_batch` examples."""
    return jax.lax.axis_index(AXIS) * local_batch if _bound() else jnp.int32(0)
