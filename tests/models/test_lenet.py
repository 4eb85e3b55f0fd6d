"""LeNet-5 against the counts of its paper's figure, on the sizes it reads."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.anatomy import count_macs, count_params
from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.lenet import lenet5, lenet5_28, scaled_tanh
from cnn_jax.models.variant import Variant


def test_rgb_counts() -> None:
    assert count_params(lenet5(), (32, 32, 3)) == 62_006
    assert count_macs(lenet5(), (32, 32, 3)) == 651_720


def test_scaled_tanh_maps_one_to_one() -> None:
    np.testing.assert_allclose(scaled_tanh(jnp.asarray([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)


def test_padding_reads_28x28_digits_as_if_they_stood_in_a_32x32_field() -> None:
    digits = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype(np.float32)
    variables = jax.jit(partial(lenet5().init, train=False))(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    field = np.pad(digits, ((0, 0), (2, 2), (2, 2), (0, 0)))
    wanted, _ = jax.jit(partial(lenet5().apply, train=False))(variables, field)
    got, _ = jax.jit(partial(lenet5_28().apply, train=False))(variables, digits)
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize(("variant", "smallest"), [(lenet5, 16), (lenet5_28, 12)])
def test_smallest_size(variant: Variant, smallest: int) -> None:
    assert feature_info(variant(), (smallest, 40, 3)) == {"stage1": (6, 2), "stage2": (16, 4)}
    wanted = rf"^LeNet-5 reads \[B, H, W, C\] of size {smallest} or more, not \(1, {smallest - 1}, 40, 3\)"
    with pytest.raises(ValueError, match=wanted):
        feature_info(variant(), (smallest - 1, 40, 3))
