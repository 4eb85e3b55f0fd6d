"""Windows, flips and sizes against their definitions in NumPy, and what windows must not show: seams, order, memory."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax.ops.convolution import convolution
from cnn_jax.ops.resize import resize
from cnn_jax.ops.sliding_window import averaging, shares, slid, starts
from cnn_jax.train.mesh import forward as per_device

DRAW = np.random.default_rng(0)
KERNEL = DRAW.normal(size=(3, 3, 2, 4)).astype(np.float32)


@jax.jit
def net(x: jax.Array) -> jax.Array:
    """What it says of a pixel depends on its neighbours, and at the border of a window on the zeros outside."""
    return jax.nn.relu(convolution(x, jnp.asarray(KERNEL), padding="SAME"))


def pixels(x: jax.Array) -> jax.Array:
    """What it says of a pixel depends on that alone."""
    return jnp.tanh(x @ KERNEL[1, 1])


def image(height: int, width: int, count: int = 1) -> np.ndarray:
    return DRAW.normal(size=(count, height, width, 2)).astype(np.float32)


def defined(x: np.ndarray, window: Sequence[int], step: float) -> np.ndarray:
    """The mean over the windows, weighted by Gaussians, added up in a random order in float64."""
    low = [max(side - size, 0) // 2 for side, size in zip(window, x.shape[1:3], strict=True)]
    high = [max(side - size, 0) - few for side, size, few in zip(window, x.shape[1:3], low, strict=True)]
    wide = np.pad(x, ((0, 0), (low[0], high[0]), (low[1], high[1]), (0, 0)))
    one, other = (np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 8)) ** 2) for side in window)
    weights = np.outer(one, other)[..., None]
    total, weight = np.zeros((*wide.shape[:3], 4)), np.zeros((*wide.shape[1:3], 1))
    along = (starts(size, side, step) for size, side in zip(wide.shape[1:3], window, strict=True))
    places = list(itertools.product(*along))
    for top, left in DRAW.permutation(places):
        here = (slice(top, top + window[0]), slice(left, left + window[1]))
        total[:, *here] += weights * np.asarray(net(wide[:, *here]))
        weight[here] += weights
    cut = (slice(low[0], low[0] + x.shape[1]), slice(low[1], low[1] + x.shape[2]))
    return (total / weight)[:, *cut]


def test_windows_are_where_nnu_net_has_them() -> None:
    np.testing.assert_array_equal(starts(110, 64), [0, 23, 46])
    np.testing.assert_array_equal(starts(2048, 512), np.arange(7) * 256)
    np.testing.assert_array_equal(starts(64, 64), [0])
    np.testing.assert_array_equal(starts(21, 8), [0, 3, 6, 10, 13])  # of 0, 3.25, 6.5, 9.75, 13


@given(size=st.integers(1, 300), window=st.integers(1, 200), step=st.floats(0.05, 1))
def test_windows_reach_everywhere_and_shares_sum_to_one(size: int, window: int, step: float) -> None:
    size = max(size, window)
    first, share = starts(size, window, step), shares(size, window, step)
    assert first[0] == 0 and first[-1] == size - window
    assert (np.diff(first) <= np.ceil(window * step)).all() and (np.diff(first) >= 0).all()
    total = np.zeros(size)
    for start, one in zip(first, share, strict=True):
        total[start : start + window] += one
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert share.min() > 0 and share.dtype == np.float32


@pytest.mark.parametrize(
    "size,window,step", [((20, 27), (8, 10), 0.5), ((6, 21), (8, 8), 0.3), ((9, 12), (12, 16), 0.5)]
)
def test_the_mean_over_windows_is_its_definition(size: Any, window: Any, step: float) -> None:
    x = image(*size, count=2)
    found = jax.jit(partial(slid, net, window=window, step=step))(x)
    np.testing.assert_allclose(found, defined(x, window, step), atol=1e-5)
    if size[0] > window[0]:
        assert np.abs(found - net(x)).max() > 0.01  # a window's border shows, or this would hold of any weights


def test_no_seam_where_a_pixel_is_said_by_itself() -> None:
    x = image(37, 50)
    for function in (pixels, lambda x: jnp.broadcast_to(jnp.float32([1, -2, 0.3, 1e4]), (*x.shape[:3], 4))):
        found = jax.jit(partial(slid, function, window=(16, 12)))(x)
        np.testing.assert_allclose(found, function(jnp.asarray(x)), rtol=1e-6, atol=1e-6)


def test_one_window_is_the_forward_pass_to_the_bit() -> None:
    x = image(12, 9)
    np.testing.assert_array_equal(jax.jit(partial(slid, net, window=(12, 9)))(x), net(x))


def test_the_order_of_windows_does_not_matter() -> None:
    def turned(x: jax.Array) -> jax.Array:
        return net(x.swapaxes(1, 2)).swapaxes(1, 2)

    x = image(20, 26)
    across = jax.jit(partial(slid, net, window=(8, 10)))(x)
    down = jax.jit(partial(slid, turned, window=(10, 8)))(x.swapaxes(1, 2)).swapaxes(1, 2)
    np.testing.assert_allclose(across, down, rtol=0, atol=1e-6)


def test_memory_is_bounded_by_the_window() -> None:
    def needed(side: int, window: int) -> int:
        run = averaging(window=window, flips="both")
        x = jax.ShapeDtypeStruct((1, side, side, 2), "float32")
        return jax.jit(partial(run, net)).lower(x).compile().memory_analysis().temp_size_in_bytes

    small, large = needed(64, 32), needed(256, 32)
    assert large < small + 4096 and large < needed(256, 0) / 10


def test_a_batch_that_is_split_over_devices_gives_the_same() -> None:
    x = image(20, 20, count=4)
    run = averaging(window=8, flips="horizontal")
    fields: Any = {}
    whole = per_device(lambda _, batch: run(net, batch["image"]), fields, jax.devices()[:1])
    parts = per_device(lambda _, batch: run(net, batch["image"]), fields, jax.devices()[:2])
    np.testing.assert_allclose(whole({}, {"image": x}), parts({}, {"image": x}), rtol=0, atol=1e-6)


def test_flips_are_the_mean_over_mirror_images() -> None:
    x = image(7, 10)
    ways: dict[str, Any] = {"horizontal": [(), 2], "both": [(), 1, 2, (1, 2)]}
    for name, axes in ways.items():
        found = jax.jit(partial(averaging(flips=name), net))(x)
        expected = np.mean([np.flip(net(np.flip(x, axis)), axis) for axis in axes], axis=0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        inside = jax.jit(partial(averaging(flips=name, window=(7, 10)), net))(x)
        np.testing.assert_allclose(inside, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(averaging(flips="none", scales=(1,))(net, jnp.asarray(x)), net(x))


def test_scales_are_the_mean_over_resized_images() -> None:
    x, half = image(8, 12), jax.jit(partial(resize, size=(4, 6)))
    expected = (net(x) + jax.jit(partial(resize, size=(8, 12)))(net(half(x)))) / 2
    np.testing.assert_allclose(jax.jit(partial(averaging(scales=(0.5, 1)), net))(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    "settings,said",
    [
        ({"window": -3}, "window = -3 must be pixels of a side, or height and width; 0 is the whole image"),
        ({"window": (4, 4, 4)}, r"window = \(4, 4, 4\) must"),
        ({"window": "64"}, "window = '64' must"),
        ({"step": 0}, "step = 0 must be above 0 and at most 1: in sides of the window"),
        ({"step": 1.5}, "step = 1.5 must"),
        ({"flips": "left"}, "flips = 'left' is none of none, horizontal, vertical, both"),
        ({"scales": ()}, r"scales = \(\) must be positive numbers, as \(0.75, 1, 1.25\)"),
        ({"scales": 2}, "scales = 2 must"),
        ({"scales": (1, float("nan"))}, "scales = .* must be positive numbers"),
    ],
)
def test_other_settings_are_refused(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        averaging(**settings)
