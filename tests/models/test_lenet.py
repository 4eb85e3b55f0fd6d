"""LeNet-5 against the counts of its paper's figure, on the sizes it reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.lenet import lenet5, lenet5_28, scaled_tanh
from cnn_jax.models.variant import count_macs, count_params


def test_rgb_counts() -> None:
    assert count_params(lenet5(), (32, 32, 3)) == 62_006
    assert count_macs(lenet5(), (32, 32, 3)) == 651_720


def test_scaled_tanh_maps_one_to_one() -> None:
    np.testing.assert_allclose(scaled_tanh(jnp.asarray([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)


def test_padding_reads_28x28_digits_as_if_they_stood_in_a_32x32_field() -> None:
    digits = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype(np.float32)
    variables = lenet5().init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), train=False)
    field = np.pad(digits, ((0, 0), (2, 2), (2, 2), (0, 0)))
    wanted, _ = lenet5().apply(variables, field, train=False)
    got, _ = lenet5_28().apply(variables, digits, train=False)
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize(("variant", "smallest"), [(lenet5, 16), (lenet5_28, 12)])
def test_smallest_size(variant: type, smallest: int) -> None:
    def shape(size: int) -> tuple[int, ...]:
        return jax.eval_shape(
            lambda x: variant().init_with_output(jax.random.key(0), x, train=False)[0][1]["stage2"],
            jnp.ones((1, size, 40, 3)),
        ).shape

    assert shape(smallest)[1] == 1
    with pytest.raises(
        ValueError,
        match=rf"^LeNet-5 reads \[B, H, W, C\] of size {smallest} or more, not \(1, {smallest - 1}, 40, 3\)$",
    ):
        shape(smallest - 1)
