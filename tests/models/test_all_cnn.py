"""All-CNN-C: the paper's 6x6 positions, its dropout, and its closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.inspect.anatomy import count_macs
from cnn_jax.models.all_cnn import all_cnn_c


def layers(classes: int) -> list[tuple[int, int, int, int]]:
    """(positions on a 32x32 image, kernel area, channels in, channels out), from table 2 of the paper."""
    return [
        *((1024, 9, 3, 96), (1024, 9, 96, 96), (256, 9, 96, 96)),
        *((256, 9, 96, 192), (256, 9, 192, 192), (64, 9, 192, 192)),
        *((36, 9, 192, 192), (36, 1, 192, 192), (36, 1, 192, classes)),
    ]


def test_counts_by_layer() -> None:
    assert all_cnn_c.params == sum(k * i * o + o for _, k, i, o in layers(10))
    assert all_cnn_c.macs == sum(n * k * i * o for n, k, i, o in layers(10))
    assert count_macs(all_cnn_c(classes=100), (32, 32, 3)) == sum(n * k * i * o for n, k, i, o in layers(100))


@pytest.mark.parametrize(("shape", "maps"), [((32, 32), [16, 8, 6]), ((28, 28), [14, 7, 5]), ((33, 9), [17, 9, 7])])
def test_map_sizes(shape: tuple[int, int], maps: list[int]) -> None:
    x = jnp.ones((1, *shape, 3))
    _, features = jax.eval_shape(lambda x: all_cnn_c().init_with_output(jax.random.key(0), x, train=False)[0], x)
    assert [features[f"stage{i}"].shape[1] for i in (1, 2, 3)] == maps


def test_smallest_size() -> None:
    with pytest.raises(ValueError, match="of size 9 or more"):
        all_cnn_c().init(jax.random.key(0), jnp.ones((1, 8, 32, 3)), train=False)


def test_dropout_is_applied_to_the_input_and_after_both_strided_layers() -> None:
    module = all_cnn_c(conv=lambda features, *_, **__: lambda x: jnp.ones((*x.shape[:-1], features)) * x.mean())
    x = jnp.ones((1, 9, 9, 3))
    _, quiet = jax.jit(partial(module.apply, {}, train=False))(x)
    _, noisy = jax.jit(partial(module.apply, {}, train=True, rngs={"dropout": jax.random.key(0)}))(x)
    np.testing.assert_allclose(quiet["stage3"], 1, rtol=1e-5)
    means = [float(noisy[f"stage{i}"].mean()) for i in (1, 2, 3)]
    assert len({1.0, *(round(mean, 4) for mean in means)}) == 4, (
        "each of the three dropouts changes the mean of what follows it"
    )
