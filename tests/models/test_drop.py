"""Stochastic depth and DropBlock: how much is dropped, in which shapes, and drawn for each example alone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from cnn_jax.models.drop import DropBlock, DropPath
from cnn_jax.models.resnet import ResNet, small_image_stem
from cnn_jax.ops.batch_axis import AXIS

LAYERS = [DropPath(0.5), DropBlock(0.5, 3)]


def drop(layer: Any, x: jax.Array, seed: int = 0) -> jax.Array:
    return layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})


def test_drop_path_drops_whole_examples_and_scales_the_others() -> None:
    y = np.reshape(drop(DropPath(0.25), jnp.ones((400, 2, 3))), (400, -1))
    assert (y == y[:, :1]).all() and set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y[:, 0] == 0).mean() - 0.25) < 0.07  # 3 standard deviations


def test_drop_block_drops_blocks_that_lie_inside_and_scales_the_others() -> None:
    """Where few seeds fall, every dropped position is part of a 2 x 3 block of zeros; the mean of each map is kept."""
    y = np.asarray(drop(DropBlock(0.1, 3), jnp.ones((200, 2, 8, 5))))
    dropped = y == 0
    blocks = np.stack([dropped[:, :, i : i + 3].all((1, 2)) for i in range(6)], 1)  # 2 rows: a block is cut to them
    covered = np.zeros((200, 8, 5), bool)
    for i in range(6):
        covered[:, i : i + 3] |= blocks[:, i, None]
    np.testing.assert_array_equal(dropped, np.broadcast_to(covered[:, None], dropped.shape))
    np.testing.assert_allclose(y.mean((1, 2, 3)), 1, rtol=1e-5)
    assert (dropped.any((1, 2)) != dropped.any((1, 2))[:, :1]).any()  # channels have their own blocks


@pytest.mark.parametrize(("size", "shape"), [(1, (9, 9)), (3, (16, 12)), (4, (16,)), (7, (5, 9))])
def test_drop_block_drops_about_the_rate(size: int, shape: tuple[int, ...]) -> None:
    """A bit less: blocks overlap, which the paper's gamma does not correct."""
    dropped = (drop(DropBlock(0.1, size), jnp.ones((64, *shape, 16))) == 0).mean()
    assert 0.08 < dropped < 0.105


def test_drop_block_may_drop_everything() -> None:
    y = drop(DropBlock(0.9, 2), jnp.ones((50, 2, 2, 1)))
    assert np.isfinite(y).all() and (y == 0).all((1, 2, 3)).any()


@pytest.mark.parametrize("layer", LAYERS)
def test_draws_depend_on_the_position_in_the_global_batch_only(layer: Any) -> None:
    x = jnp.ones((8, 6, 6, 4))
    y = drop(layer, x)
    np.testing.assert_array_equal(drop(layer, x[:4]), y[:4])
    assert (drop(layer, x, seed=1) != y).any()
    mesh = jax.make_mesh((4,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(partial(drop, layer), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))
    np.testing.assert_array_equal(jax.jit(mapped)(x), y)


@pytest.mark.parametrize("layer", [DropPath, DropBlock])
def test_identity_in_evaluation_and_at_rate_zero_and_rates_are_fractions(layer: Any) -> None:
    x = jnp.ones((2, 3, 3, 1), jnp.bfloat16)
    np.testing.assert_array_equal(layer(0.5).apply({}, x, train=False), x)
    np.testing.assert_array_equal(layer(0.0).apply({}, x, train=True), x)
    assert drop(layer(0.5), x).dtype == jnp.bfloat16
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"not in \[0, 1\)"):
            drop(layer(rate), x)


@pytest.mark.parametrize("layer", [DropPath, DropBlock])
def test_a_resnet_drops_more_the_deeper(layer: Any) -> None:
    rates = []

    def spy(rate: float, name: str) -> Any:
        rates.append(rate)
        return layer(rate, name=name)

    module = ResNet(classes=2, blocks=(2, 1), features=2, stem=small_image_stem, drop=spy, drop_path=0.5)
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    fresh = jax.eval_shape(partial(module.init, train=True), rngs, jnp.ones((2, 4, 4, 3)))
    assert rates == [0.0, 0.25, 0.5]
    plain = module.clone(drop=DropPath, drop_path=0.0)
    assert jax.tree.structure(fresh) == jax.tree.structure(
        jax.eval_shape(partial(plain.init, train=True), jax.random.key(0), jnp.ones((2, 4, 4, 3)))
    )
