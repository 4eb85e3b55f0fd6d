"""The batch axis: identities in a global program, collectives in a per-device one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.ops.batch_axis import AXIS, first_example, mean_over_devices, sum_over_devices

DEVICES = 4
BATCH = np.arange(8, dtype=np.float32)


def numbers(x: jax.Array) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """What one program sees: mean and sum over the global batch, and the position of each local example."""
    tree = {"mean": x.mean()}
    return mean_over_devices(tree), sum_over_devices(x.sum()), first_example(len(x)) + jnp.arange(len(x))


def mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:DEVICES])


def test_global_program_sees_the_whole_batch() -> None:
    sharded = jax.device_put(BATCH, NamedSharding(mesh(), P(AXIS)))
    for x in (BATCH, sharded):
        tree, total, positions = jax.jit(numbers)(x)
        assert tree["mean"] == 3.5 and total == 28
        np.testing.assert_array_equal(positions, np.arange(8))


def test_a_mesh_axis_of_that_name_is_not_bound_in_a_global_program() -> None:
    with jax.set_mesh(mesh()):
        tree, total, positions = jax.jit(numbers)(BATCH)
    assert tree["mean"] == 3.5 and total == 28
    np.testing.assert_array_equal(positions, np.arange(8))


def test_pmap() -> None:
    mapped = jax.pmap(numbers, axis_name=AXIS, devices=jax.devices()[:DEVICES])
    tree, total, positions = mapped(BATCH.reshape(DEVICES, -1))
    np.testing.assert_array_equal(tree["mean"], [3.5] * DEVICES)
    np.testing.assert_array_equal(total, [28] * DEVICES)
    np.testing.assert_array_equal(np.concatenate(positions), np.arange(8))


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map(check_vma: bool) -> None:
    specs = {"in_specs": P(AXIS), "out_specs": ({"mean": P()}, P(), P(AXIS)), "check_vma": check_vma}
    tree, total, positions = jax.jit(jax.shard_map(numbers, mesh=mesh(), **specs))(BATCH)
    assert tree["mean"] == 3.5 and total == 28
    np.testing.assert_array_equal(positions, np.arange(8))


def test_another_axis_does_not_count() -> None:
    means, _, positions = jax.vmap(partial(numbers), axis_name="other")(BATCH.reshape(DEVICES, -1))
    np.testing.assert_array_equal(means["mean"], BATCH.reshape(DEVICES, -1).mean(1))
    np.testing.assert_array_equal(positions, [[0, 1]] * DEVICES)


def test_positions_are_int32() -> None:
    assert first_example(3).dtype == jnp.int32
