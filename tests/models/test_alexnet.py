"""AlexNet: the sizes that it reads, and those of its maps."""

import jax
import pytest

from cnn_jax.inspect.anatomy import count_params
from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.alexnet import alexnet


def test_maps_of_the_published_size() -> None:
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")
    (_, features), _ = jax.eval_shape(lambda x: alexnet().init_with_output(jax.random.key(0), x, train=False), x)
    sizes = {name: value.shape[1:] for name, value in features.items()}
    assert sizes == {"stage1": (55, 55, 64), "stage2": (27, 27, 192), "stage3": (13, 13, 256), "pooled": (4096,)}


def test_any_size_from_63_has_the_same_parameters() -> None:
    assert count_params(alexnet(), (63, 200, 3)) == alexnet.params
    with pytest.raises(ValueError, match=r"^AlexNet reads \[B, H, W, C\] of size 63 or more, not \(1, 62, 80, 3\)"):
        feature_info(alexnet(), (62, 80, 3))
