"""The small network's closed form, and the sizes it reads."""

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.inspect.anatomy import count_macs, count_params
from cnn_jax.models.small_cnn import small_cnn


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (29, 8, 2)])
def test_counts_by_layer(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    params, macs, before = 0, 0, channels
    for after in (32, 64, 128):
        params += 9 * before * after + 2 * after
        macs += height * width * 9 * before * after
        height, width, before = height // 2, width // 2, after
    flat = height * width * 128
    params += flat * 256 + 2 * 256 + 2570
    macs += flat * 256 + 2560
    assert (count_params(small_cnn(), shape), count_macs(small_cnn(), shape)) == (params, macs)
    if shape == small_cnn.input_shape:
        assert (small_cnn.params, small_cnn.macs) == (params, macs)


def test_smallest_size() -> None:
    with pytest.raises(ValueError, match="of size 8 or more"):
        small_cnn().init(jax.random.key(0), jnp.ones((1, 7, 28, 1)), train=False)
