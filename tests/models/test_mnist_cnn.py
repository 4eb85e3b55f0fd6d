"""The MNIST network's closed form, and the sizes it reads."""

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.inspect.anatomy import count_macs, count_params
from cnn_jax.models.mnist_cnn import mnist_cnn


@pytest.mark.parametrize("shape", [(32, 32, 3), (27, 40, 1), (4, 4, 2)])
def test_counts_on_other_sizes(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    flat = (height // 4) * (width // 4) * 64
    params = (9 * channels * 32 + 32) + (9 * 32 * 64 + 64) + (flat * 256 + 256) + (256 * 10 + 10)
    macs = height * width * 9 * channels * 32 + (height // 2) * (width // 2) * 9 * 32 * 64 + flat * 256 + 2560
    assert (count_params(mnist_cnn(), shape), count_macs(mnist_cnn(), shape)) == (params, macs)


def test_smallest_size() -> None:
    with pytest.raises(ValueError, match="of size 4 or more"):
        mnist_cnn().init(jax.random.key(0), jnp.ones((1, 3, 28, 1)), train=False)
