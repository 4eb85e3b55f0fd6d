"""ResNet-D: the stem's widths, and shortcuts that average over every position."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.layers import BatchNorm, Conv
from cnn_jax.models.resnet_d import average, average_projection, resnet50d


def test_average_counts_only_what_lies_inside() -> None:
    x = np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
    y = average(jnp.asarray(x), 2)[0, :, :, 0]
    np.testing.assert_allclose(y, [[(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2], [10.5, 12.5, 14]])
    np.testing.assert_array_equal(average(jnp.asarray(x), 1), x)


def test_shortcut_sees_every_position_and_is_the_identity_elsewhere() -> None:
    shortcut: Any = partial(average_projection, conv=partial(Conv, use_bias=False), norm=BatchNorm, train=False)
    x = jnp.ones((1, 4, 4, 2))
    assert shortcut(x, 2, 1) is x
    conv = partial(lambda *args, name: lambda x: x * 8)
    norm = partial(lambda name: lambda x, train: x)
    gradient = jax.grad(lambda x: average_projection(x, 8, 2, conv=conv, norm=norm, train=False).sum())(x)
    np.testing.assert_array_equal(gradient, 2 * np.ones(x.shape))  # 8 x a quarter, everywhere


def test_stem_has_three_convolutions_of_half_half_and_full_width() -> None:
    variables = jax.eval_shape(partial(resnet50d().init, train=False), jax.random.key(0), jnp.ones((1, 64, 64, 3)))
    shapes = [variables["params"][f"stem_conv{i}"]["kernel"].shape for i in (1, 2, 3)]
    assert shapes == [(3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64)]
