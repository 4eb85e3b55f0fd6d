"""Rays against a definition that walks them one by one."""

import math

import jax
import numpy as np
import pytest

from cnn_jax.ops.rays import centrality, ray_lengths

RAYS = 12


def walked(instances: np.ndarray, rays: int) -> np.ndarray:
    """The lengths [H, W, R] of the rays of each pixel of a map [H, W]."""
    height, width = instances.shape
    found = np.zeros((height, width, rays))
    for y, x in zip(*np.nonzero(instances), strict=True):
        for ray in range(rays):
            across, down = (round(f(2 * math.pi * ray / rays), 12) for f in (math.cos, math.sin))
            steps = 0
            while True:
                row, column = (math.floor(at + (steps + 1) * by + 0.5) for at, by in ((y, down), (x, across)))
                inside = 0 <= row < height and 0 <= column < width and instances[row, column] == instances[y, x]
                if not inside:
                    break
                steps += 1
            found[y, x, ray] = steps + 0.5 / max(abs(across), abs(down))
    return found


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """Discs that touch, lie on each other and are cut by the border, with numbers that have gaps."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    found = np.zeros((height, width), np.int32)
    for number in (3, 70_000, 5, 255, 9):
        at, radius = draw.uniform(0, (height, width)), draw.uniform(1, 6)
        found[(y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2] = number
    return found


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    return np.stack([blobs(0, 13, 17), blobs(1, 13, 17), np.zeros((13, 17), np.int32), np.full((13, 17), 4, np.int32)])


@pytest.mark.parametrize("stride", [1, 2])
def test_lengths_are_those_of_rays_walked_one_by_one(maps: np.ndarray, stride: int) -> None:
    found = jax.jit(ray_lengths, static_argnums=(1, 2))(maps, RAYS, stride)
    expected = np.stack([walked(one, RAYS) for one in maps])
    np.testing.assert_allclose(found, expected[:, ::stride, ::stride], rtol=1e-6)


def test_a_pixel_is_as_central_as_its_shortest_ray_is_long(maps: np.ndarray) -> None:
    lengths = np.stack([walked(one, RAYS) for one in maps]).astype(np.float32)
    expected = np.zeros(maps.shape)
    for number, one in enumerate(maps):
        for name in np.unique(one[one > 0]):
            nearest = lengths[number].min(-1)[one == name]
            expected[number][one == name] = nearest / nearest.max()
    found = jax.jit(centrality)(maps, lengths)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[2].max() == 0 and found[3, 6, 8] == 1
