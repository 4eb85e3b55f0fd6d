"""The batch axis: identities in a global program, collectives in a per-device one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.ops.batch_axis import (
    AXIS,
    divisor,
    first_example,
    gather_over_devices,
    mean_over_devices,
    sum_over_devices,
)

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


def contrastive(weights: jax.Array, x: jax.Array) -> jax.Array:
    """The mean over this program's examples of how much each is unlike itself, moved, among all of the batch."""
    batch = {"first": jnp.tanh(x @ weights), "second": jnp.tanh((x + 0.1) @ weights)}
    similar = batch["first"] @ gather_over_devices(batch)["second"].T
    own = first_example(len(x)) + jnp.arange(len(x))
    return -jnp.take_along_axis(jax.nn.log_softmax(similar), own[:, None], axis=1).mean()


def test_a_contrastive_loss_and_its_gradient_do_not_depend_on_the_devices() -> None:
    devices = jax.devices()
    x = np.random.default_rng(0).normal(size=(2 * len(devices), 5)).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    batch_mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,))

    def step(weights: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return mean_over_devices(jax.value_and_grad(contrastive)(weights, x))

    one = jax.jit(step)(weights, x)
    assert np.abs(one[1]).max() > 0.01
    split = jax.device_put(x, NamedSharding(batch_mesh, P(AXIS)))
    mapped = jax.shard_map(step, mesh=batch_mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False)
    by_pmap = jax.pmap(step, AXIS, in_axes=(None, 0))(weights, x.reshape(len(devices), 2, 5))
    for found in (jax.jit(step)(weights, split), jax.jit(mapped)(weights, split), [v[-1] for v in by_pmap]):
        np.testing.assert_allclose(found[0], one[0], rtol=1e-5)
        np.testing.assert_allclose(found[1], one[1], rtol=1e-4, atol=1e-6)


def test_what_is_gathered_is_in_the_order_of_the_devices() -> None:
    specs = {"in_specs": P(AXIS), "out_specs": P(), "check_vma": False}
    found = jax.jit(jax.shard_map(gather_over_devices, mesh=mesh(), **specs))({"a": BATCH, "b": BATCH[:, None] > 3})
    np.testing.assert_array_equal(found["a"], BATCH)
    np.testing.assert_array_equal(found["b"], BATCH[:, None] > 3)


@pytest.mark.parametrize("counts", [[1, 0, 0, 0], [0, 0, 0, 0], [3, 1, 0, 2]])
def test_shares_of_devices_average_to_the_mean_of_the_whole_batch(counts: list[int]) -> None:
    """A sum over all of 12, by what the whole batch counts or by 1, however little of it a device has."""

    def share(total: jax.Array, count: jax.Array) -> jax.Array:
        return mean_over_devices(total[0] / divisor(count[0]))

    specs = {"in_specs": (P(AXIS), P(AXIS)), "out_specs": P()}
    totals = np.array([2.0, 4.0, 5.0, 1.0], np.float32)
    found = jax.jit(jax.shard_map(share, mesh=mesh(), **specs))(totals, np.array(counts, np.float32))
    np.testing.assert_allclose(found, 12 / max(sum(counts), 1), rtol=1e-6)
    assert share(np.array([12.0]), np.array([sum(counts)])) == 12 / max(sum(counts), 1)
