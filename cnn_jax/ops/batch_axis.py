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


def devices() -> int:
    """The programs among which the batch is divided: 1 in a global program."""
    return int(jax.lax.axis_size(AXIS)) if _bound() else 1


def mean_over_devices(tree: Tree) -> Tree:
    """The mean of each array of `tree` over the devices in a per-device program, `tree` itself in a global one."""
    return jax.lax.pmean(tree, AXIS) if _bound() else tree


def sum_over_devices(tree: Tree) -> Tree:
    """The sum of each array of `tree` over the devices in a per-device program, `tree` itself in a global one."""
    return jax.lax.psum(tree, AXIS) if _bound() else tree


def divisor(count: jax.Array) -> jax.Array:
    """What a sum over this program's examples is divided by, to give its share of the mean over all that is counted.

    The mean of the shares over devices is then the sum over the whole batch divided by its count, and by 1 where that
    is less. A device may count nothing, or the whole batch less than it has devices.
    """
    return jnp.maximum(mean_over_devices(count), 1 / devices())


def first_example(local_batch: int) -> jax.Array:
    """int32 position, in the global batch, of the first of this program's `local_batch` examples."""
    return jax.lax.axis_index(AXIS) * local_batch if _bound() else jnp.int32(0)


def gather_over_devices(tree: Tree) -> Tree:
    """Each array [b, ...] of `tree` as the whole batch [B, ...], device after device; itself in a global program.

    The gradient of what a device gathered is the sum over all devices. So a loss that compares each example with all
    others, as a contrastive one, sums over this device's examples (rows `first_example(b)` and on) against the gathered
    ones: summed over devices, value and gradient are those of the whole batch.
    """
    if not _bound():
        return tree
    return jax.tree.map(lambda array: jax.lax.all_gather(array, AXIS, tiled=True), tree)
