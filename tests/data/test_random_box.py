"""Random boxes of pictures: which they are, and that the same key is the same one."""

import dataclasses
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cnn_jax.data.keyed import mixed
from cnn_jax.data.placement import Placement
from cnn_jax.data.prepare import ImagePrepare, fit
from cnn_jax.data.reading import read_image
from tests.data.pictures import encode, gentle, noise, resize

RANDOM = ImagePrepare(size=(9, 11), random_area=(0.1, 0.5), random_aspect=(0.5, 1.8))


def box_of(placement: Placement) -> np.ndarray:
    """Left, top, right, bottom of the part of the original that an example shows."""
    corners = np.array([[0, 0], placement.size[::-1]])
    return ((corners - placement.offset[::-1]) / placement.scale[::-1]).ravel()


def boxes(height: int, width: int, prepare: ImagePrepare, count: int) -> np.ndarray:
    pixels = np.zeros((height, width, 1), np.uint8)
    return np.array([box_of(fit(pixels, prepare, int(key))[1]) for key in mixed(5, np.arange(count))])


def test_a_key_is_a_box_and_another_key_another():
    pixels = noise(40, 50)
    first, again, other = (fit(pixels, RANDOM, key) for key in (7, 7, 8))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1] != other[1] and (first[0] != other[0]).any()
    left, top, right, bottom = box_of(first[1]).round(6)
    np.testing.assert_array_equal(first[0], resize(pixels, (9, 11), (left, top, right, bottom)))
    for way in (pixels, encode(pixels), encode(gentle(200, 300), "JPEG")):
        read = fit if isinstance(way, np.ndarray) else read_image
        without, placement = read(way, RANDOM)
        np.testing.assert_array_equal(without, read(way, dataclasses.replace(RANDOM, random_area=()))[0])
        assert placement == read(way, dataclasses.replace(RANDOM, random_area=()), 3)[1]


def test_boxes_are_of_the_areas_shapes_and_places_asked_for():
    side = 1000  # so that rounding to whole pixels does not matter
    left, top, right, bottom = boxes(side, side, RANDOM, 2000).T
    wide, tall = right - left, bottom - top
    assert min(left.min(), top.min()) >= -1e-6 and max(right.max(), bottom.max()) <= side + 1e-6
    area, shape = wide * tall / side**2, np.log(wide / tall)
    free = {"area": (area, 0.1, 0.5), "shape": (shape, math.log(0.5), math.log(1.8))}
    free |= {"x": (left / (side - wide), 0, 1), "y": (top / (side - tall), 0, 1)}
    for name, (values, low, high) in free.items():
        assert values.min() > low - 0.01 and values.max() < high + 0.01, name
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-4, name
    assert abs(np.corrcoef([area, shape, left / (side - wide), top / (side - tall)]) - np.eye(4)).max() < 0.08


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 2**64 - 1),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
    st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(sorted).map(tuple),
)
def test_a_box_never_leaves_the_picture(height, width, key, area, aspect):
    prepare = ImagePrepare(size=(4, 5), random_area=area, random_aspect=aspect)
    made, placement = fit(noise(height, width, 1), prepare, key)
    left, top, right, bottom = box_of(placement).round(6)
    assert made.shape == (4, 5, 1)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert all(side == round(side) for side in (left, top, right, bottom))


def test_where_no_box_fits_it_is_the_largest_central_one():
    strip = ImagePrepare(size=(4, 4), random_area=(0.9, 1.0))
    for key in range(20):
        found = box_of(fit(noise(10, 100, 1), strip, key)[1])
        np.testing.assert_allclose(found, [43, 0, 56, 10], atol=1e-9)  # 13 wide: 4 / 3
        found = box_of(fit(noise(100, 10, 1), strip, key)[1])
        np.testing.assert_allclose(found, [0, 43, 10, 56], atol=1e-9)
