from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment.erase import cutout, random_erasing
from cnn_jax.batch import Batch

HEIGHT, WIDTH, COUNT = 20, 24, 2000
KEYS = jax.random.split(jax.random.key(3), COUNT)


@pytest.fixture
def data(make_batch) -> Batch:
    return make_batch({"image": jnp.full((COUNT, HEIGHT, WIDTH, 1), 0.5), "label": jnp.zeros(COUNT)})


def boxes(hidden: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Top, left, bottom, right of the true pixels of [B, H, W], after checking that they fill their box."""
    rows, columns = hidden.any(axis=2), hidden.any(axis=1)
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    bottom, right = HEIGHT - rows[:, ::-1].argmax(axis=1), WIDTH - columns[:, ::-1].argmax(axis=1)
    np.testing.assert_array_equal(hidden.sum(axis=(1, 2)), (bottom - top) * (right - left))
    return top, left, bottom, right


@pytest.mark.parametrize("size", [1, 5, 8])
def test_cutout_hides_a_square_around_any_pixel(data: Batch, size: int) -> None:
    result = np.asarray(jax.jit(partial(cutout, size=size, fill=0.25))(KEYS, data)["image"])[..., 0]
    hidden = result == 0.25
    assert (result[~hidden] == 0.5).all()
    top, left, bottom, right = boxes(hidden)
    # A side is whole, or cut by the border it touches.
    for low, high, length in ((top, bottom, HEIGHT), (left, right, WIDTH)):
        assert ((high - low == size) | (low == 0) | (high == length)).all() and (high - low).max() == size
        assert (high - low).min() == size - size // 2
        # The centre is uniform, so a whole square starts at each place equally often.
        starts = np.bincount(low[high - low == size], minlength=length - size + 1)
        expected = COUNT / length
        assert np.abs(starts[1:-1] - expected).max() < 5 * expected**0.5


def test_cutout_of_size_zero_is_the_identity_and_fill_may_be_a_colour(data: Batch, make_batch) -> None:
    np.testing.assert_array_equal(cutout(KEYS, data, size=0)["image"], data["image"])
    batch = make_batch({"image": jnp.zeros((2, 4, 4, 3)), "label": jnp.zeros(2)})
    result = cutout(KEYS[:2], batch, size=16, fill=(0.1, 0.2, 0.3))["image"]
    np.testing.assert_allclose(result, np.broadcast_to([0.1, 0.2, 0.3], (2, 4, 4, 3)))
    with pytest.raises(ValueError, match="negative"):
        cutout(KEYS, data, size=-1)


def test_random_erasing_keeps_to_probability_area_and_aspect(data: Batch) -> None:
    area, aspect = (0.1, 0.3), (0.5, 2.0)
    erase = partial(random_erasing, probability=0.7, area=area, aspect=aspect, fill=0.0)
    hidden = np.asarray(jax.jit(erase)(KEYS, data)["image"])[..., 0] == 0
    chosen = hidden.any(axis=(1, 2))
    assert abs(chosen.mean() - 0.7) < 4 * (0.21 / COUNT) ** 0.5
    top, left, bottom, right = boxes(hidden[chosen])
    tall, wide = bottom - top, right - left
    # Sides are rounded to pixels: some box within half a pixel of it must satisfy the limits.
    pixels = HEIGHT * WIDTH
    assert ((tall + 0.5) * (wide + 0.5) >= area[0] * pixels).all()
    assert ((tall - 0.5) * (wide - 0.5) <= area[1] * pixels).all()
    assert ((wide + 0.5) / (tall - 0.5) >= aspect[0]).all() and ((wide - 0.5) / (tall + 0.5) <= aspect[1]).all()
    assert abs((tall * wide).mean() / pixels - 0.2) < 0.01
    assert abs(np.log(wide / tall).mean()) < 0.05
    # Places are uniform over those where the box fits.
    room = HEIGHT - tall
    assert abs((top / room).mean() - 0.5) < 0.03 and (top == 0).any() and (top == room).any()


def test_random_erasing_fills_with_uniform_values_of_its_own_per_example(make_batch) -> None:
    batch = make_batch({"image": jnp.full((400, 9, 7, 3), 0.123), "label": jnp.zeros(400)})
    result = np.asarray(
        random_erasing(KEYS[:400], batch, probability=1.0, area=(1.0, 1.0), aspect=(7 / 9, 7 / 9))["image"]
    )
    assert result.max() == 1 and result.min() == 0
    np.testing.assert_allclose(result * 255, np.round(result * 255), atol=1e-4)
    assert abs(result.mean() - 0.5) < 0.005 and abs(result.std() - 12**-0.5) < 0.005
    assert len(np.unique(result.reshape(400, -1), axis=0)) == 400
    flat = result.reshape(400, -1)
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 0.02


def test_boxes_that_never_fit_are_cut_to_the_image(data: Batch) -> None:
    erase = partial(random_erasing, probability=1.0, area=(1.0, 1.0), aspect=(9.0, 9.0), fill=0.0)
    hidden = np.asarray(erase(KEYS[:4], jax.tree.map(lambda a: a[:4], data))["image"])[..., 0] == 0
    _, left, _, right = boxes(hidden)
    assert (left == 0).all() and (right == WIDTH).all()


def test_probability_zero_is_the_identity_and_nonsense_is_refused(data: Batch) -> None:
    np.testing.assert_array_equal(random_erasing(KEYS, data, probability=0.0)["image"], data["image"])
    wrong: list[dict[str, Any]] = [{"probability": 1.5}, {"area": (0.3, 0.1)}, {"aspect": (0.0, 1.0)}]
    for settings in wrong:
        with pytest.raises(ValueError):
            random_erasing(KEYS, data, **settings)
