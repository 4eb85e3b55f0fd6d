"""Polygons over pixels: against a definition of a point in a polygon, and by hand where they meet."""

import math

import numpy as np
import pytest

from cnn_jax.ops import polygons
from cnn_jax.ops.rays import directions, ray_lengths


def within(polygon: np.ndarray, x: float, y: float) -> bool:
    """Whether a point is in a polygon: the angles under which it sees the edges add up to a whole turn."""
    a, b = polygon - (x, y), np.roll(polygon, -1, 0) - (x, y)
    turns = np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1)).sum() / (2 * math.pi)
    return round(turns) % 2 == 1


def star(x: float, y: float, radius: float, rays: int = 32) -> np.ndarray:
    return polygons.stars(np.array([[x, y]]), np.full((1, rays), radius))[0]


def test_a_polygon_covers_the_pixels_whose_centres_are_in_it() -> None:
    draw = np.random.default_rng(0)
    for rays in (3, 7, 32):
        centre, lengths = draw.uniform(-2, 14, (1, 2)), draw.uniform(0, 9, (1, rays))
        (polygon,) = polygons.stars(centre, lengths)
        found = np.zeros((11, 13), bool)
        one = polygons.cover(polygon, (11, 13))
        found[one.place] = one.mask
        expected = [[within(polygon, x + 0.5, y + 0.5) for x in range(13)] for y in range(11)]
        np.testing.assert_array_equal(found, expected)
    level = np.array([[1, 1], [4, 1], [4, 3], [1, 3]])  # edges along pixels
    one = polygons.cover(level, (5, 5))
    assert (one.top, one.left) == (1, 1) and one.mask.tolist() == [[True] * 3] * 2
    assert polygons.cover(star(-9, -9, 3), (5, 5)).mask.size == 0


@pytest.mark.parametrize("shape", ["disc", "rectangle", "cut"])
def test_the_star_of_an_object_is_that_object(shape: str) -> None:
    y, x = np.mgrid[:24, :30]
    truth = {
        "disc": (y - 11) ** 2 + (x - 12) ** 2 < 64,
        "rectangle": (abs(y - 11) < 6) & (abs(x - 12) < 9),
        "cut": y**2 + (x - 12) ** 2 < 81,
    }[shape]
    row, column = (4, 12) if shape == "cut" else (11, 12)
    lengths = np.asarray(ray_lengths(truth[None].astype(np.int32), 32))[:, row, column]
    found = polygons.painted(polygons.stars(np.array([[column + 0.5, row + 0.5]]), lengths), truth.shape) > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.94


def test_of_polygons_that_are_one_object_the_surest_stays() -> None:
    size = (40, 60)
    big, same, touching, inside, far = (
        star(15, 15, 8),
        star(16, 15, 8),
        star(31, 15, 8),
        star(15, 17, 3),
        star(45, 30, 5),
    )
    assert polygons.distinct([big, same, touching, inside, far], size).tolist() == [0, 2, 4]
    # An object in a larger one is that one, whichever is surer.
    assert polygons.distinct([inside, far, big], size).tolist() == [0, 1]
    # What is outside, or lies between the centres of pixels, is nothing.
    assert polygons.distinct([star(-9, 3, 4), star(3, 3, 0.2), star(3.5, 3.5, 0.2)], size).tolist() == [2]
    assert polygons.distinct(np.zeros((0, 32, 2)), size).tolist() == []
    # What two share is held against the smaller one: .4 of it is allowed.
    left = np.array([[0, 0], [10, 0], [10, 10], [0, 10]])
    for shift, kept in ((6, [0, 1]), (5, [0])):
        assert polygons.distinct([left, left + (shift, 0)], size).tolist() == kept


def test_the_surest_lies_above_the_others_in_the_map() -> None:
    left = np.array([[0, 0], [4, 0], [4, 2], [0, 2]])
    found = polygons.painted([left + (2, 0), left], (2, 7))
    assert found.tolist() == [[2, 2, 1, 1, 1, 1, 0]] * 2
    assert polygons.painted([], (2, 3)).tolist() == [[0] * 3] * 2
    np.testing.assert_allclose(directions(4), [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-12)
