from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment.compose import apply_all, compose, identity
from cnn_jax.augment.draw import Augmentation
from cnn_jax.augment.erase import cutout
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.augment.mix import cutmix, mixup
from cnn_jax.batch import Batch

KEYS = jax.random.split(jax.random.key(0), 8)
IMAGE = jnp.asarray(np.random.default_rng(0).random((8, 8, 8, 1)), jnp.float32)


@pytest.fixture
def data(make_batch) -> Batch:
    return make_batch({"image": IMAGE, "label": jnp.arange(8)})


def test_stages_run_in_order_each_with_its_own_keys(data: Batch) -> None:
    stages: tuple[Augmentation, ...] = (flip, partial(shift, pixels=2), partial(cutout, size=3))
    expected = data
    for number, stage in enumerate(stages):
        expected = stage(jnp.stack([jax.random.fold_in(key, number) for key in KEYS]), expected)
    np.testing.assert_array_equal(compose(*stages)(KEYS, data)["image"], expected["image"])


def test_the_same_stage_twice_draws_twice(data: Batch) -> None:
    seen: list[jax.Array] = []

    def spy(keys: jax.Array, batch: Batch) -> Batch:
        seen.append(jax.random.key_data(keys))
        return batch

    compose(spy, spy)(KEYS, data)
    assert not (seen[0] == seen[1]).any(axis=-1).all()


def test_nothing_and_identity_return_the_batch(data: Batch) -> None:
    assert compose()(KEYS, data) is data and identity(KEYS, data) is data


def test_a_composition_nests_and_is_a_partial_over_a_named_function(data: Batch) -> None:
    both = compose(flip, compose(cutout))
    assert isinstance(both, partial) and both.func is apply_all and both.keywords["stages"][0] is flip
    assert both(KEYS, data)["image"].shape == (8, 8, 8, 1)


@pytest.mark.parametrize("first,second", [(mixup, cutmix), (cutmix, mixup), (mixup, mixup)])
def test_two_mixes_are_refused(first, second, data: Batch) -> None:
    with pytest.raises(ValueError, match="at most one"):
        compose(first, second)(KEYS, data)
