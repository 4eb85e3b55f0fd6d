"""The waveform networks shorten 4 seconds at 8 kHz as their paper's table says."""

from functools import partial

import jax
import numpy as np
import pytest

from cnn_jax.inspect.stages import feature_info
from cnn_jax.models.m5 import m3, m5, m11, m18
from cnn_jax.models.variant import Variant


def lengths(variant: Variant, length: int) -> list[int]:
    x = jax.ShapeDtypeStruct((1, length, 1), "float32")
    (_, features), _ = jax.eval_shape(partial(variant().init_with_output, train=False), jax.random.key(0), x)
    ordered = ["stem", *sorted(name for name in features if name.startswith("stage"))]
    return [features[name].shape[1] for name in ordered]


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [(m3, [2000, 500]), (m5, [2000, 500, 125, 32]), (m11, [2000, 500, 125, 32, 32]), (m18, [2000, 500, 125, 32, 32])],
)
def test_lengths_of_table_1(variant: Variant, wanted: list[int]) -> None:
    assert lengths(variant, 32_000) == wanted


def test_shortest_signal() -> None:
    assert lengths(m11, 2) == [1] * 5
    with pytest.raises(ValueError, match=r"^WaveformNet reads \[B, L, C\] of size 2 or more, not \(1, 1, 1\)"):
        feature_info(m11(), (1, 1))


def test_a_second_channel_is_read() -> None:
    """Stereo whose channels swap is another signal; one whose examples swap is not."""
    net = m3(classes=2, features=4)
    x = np.random.default_rng(0).normal(size=(2, 200, 2)).astype(np.float32)
    variables = jax.jit(partial(net.init, train=False))(jax.random.key(0), x)
    logits = jax.jit(lambda x: net.apply(variables, x, train=False)[0])
    first, swapped, turned = (np.asarray(logits(each)) for each in (x, x[:, :, ::-1], x[::-1]))
    assert np.abs(first - swapped).max() > 1e-3
    np.testing.assert_allclose(first, turned[::-1], atol=1e-6)
