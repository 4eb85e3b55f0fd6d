"""Inception-v3: the maps of the paper's table, and the sizes that it reads. Its modules are GoogLeNet's."""

import jax
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.inception_v3 import inception_v3


@pytest.mark.parametrize(("size", "maps"), [(299, (71, 35, 17, 8)), (75, (15, 7, 3, 1))])
def test_maps_of_the_published_and_of_the_smallest_size(size: int, maps: tuple[int, ...]) -> None:
    x = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
    (_, features), _ = jax.eval_shape(lambda x: inception_v3().init_with_output(jax.random.key(0), x, train=False), x)
    assert [features[name].shape[1] for name in ("stem", "stage1", "stage2", "stage3")] == list(maps)


def test_smaller_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^Inception-v3 reads \[B, H, W, C\] of size 75 or more, not \(1, 80, 74, 3"):
        feature_info(inception_v3(), (80, 74, 3))


def test_norms_add_the_constant_of_the_published_weights() -> None:
    assert inception_v3().norm().epsilon == 1e-3
