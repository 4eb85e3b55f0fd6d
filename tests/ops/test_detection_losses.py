"""Losses of detectors: their definitions in NumPy, known values, and gradients that stay finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.ops import boxes
from cnn_jax.ops import detection_losses as losses

LOGITS = np.linspace(-8, 8, 33).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def entropy(x, y):
    p = sigmoid(x)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_cross_entropy_is_its_definition(target):
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, target), entropy(LOGITS, target), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (-1.0, 2.0), (0.5, 0.0), (0.75, 1.5)])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_is_its_definition(alpha, gamma, target):
    p = sigmoid(LOGITS)
    right = p if target else 1 - p
    weight = 1 if alpha < 0 else alpha if target else 1 - alpha
    expected = -weight * (1 - right) ** gamma * np.log(right)
    found = losses.focal(LOGITS, np.float32(target), alpha=alpha, gamma=gamma)
    np.testing.assert_allclose(found, expected, rtol=3e-4, atol=1e-6)


@pytest.mark.parametrize("quality", [0.0, 0.4, 1.0])
def test_quality_focal_is_its_definition_and_least_at_the_quality(quality):
    expected = np.abs(quality - sigmoid(LOGITS)) ** 2 * entropy(LOGITS, quality)
    np.testing.assert_allclose(losses.quality_focal(LOGITS, quality), expected, rtol=3e-4, atol=1e-6)
    if 0 < quality < 1:
        best = LOGITS[int(np.argmin(losses.quality_focal(LOGITS, quality)))]
        assert abs(sigmoid(best) - quality) < 0.07


def test_heat_focal_is_its_definition():
    heat = np.array([0.0, 0.5, 0.99, 1.0])[:, None]
    p = sigmoid(LOGITS)
    expected = np.where(heat == 1, -((1 - p) ** 2) * np.log(p), -((1 - heat) ** 4) * p**2 * np.log(1 - p))
    np.testing.assert_allclose(losses.heat_focal(LOGITS, jnp.asarray(heat)), expected, rtol=3e-4, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
def test_smooth_l1_is_its_definition_and_continuous(beta):
    error = np.linspace(-2, 2, 401).astype(np.float32)
    size = np.abs(error)
    safe = beta or 1
    expected = np.where(size < beta, size**2 / (2 * safe), size - beta / 2)
    np.testing.assert_allclose(losses.smooth_l1(error, beta=beta), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(np.diff(losses.smooth_l1(error, beta=beta))).max() < 0.0101


def test_centerness_is_one_in_the_middle_and_zero_outside():
    distances = np.array([[4, 2, 4, 2], [1, 2, 4, 2], [0, 3, 4, 5], [-1, 2, 4, 2], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(losses.centerness(distances), [1, 0.5, 0, 0, 0])
    assert np.isfinite(jax.grad(lambda d: losses.centerness(d).sum())(distances)).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_hard_negatives_are_those_with_the_greatest_losses(seed):
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 4, (3, 12)).astype(np.float32)  # with ties
    kind = draw.integers(0, 3, (3, 12))
    kind[0][kind[0] == 0] = 1  # an image without positives
    found = np.asarray(losses.hard_negatives(values, kind == 0, kind == 1, 1.5))
    for row, of, chosen in zip(values, kind, found, strict=True):
        candidates = sorted(np.flatnonzero(of == 1), key=lambda i, row=row: (-row[i], i))
        assert set(np.flatnonzero(chosen)) == set(candidates[: int(1.5 * (of == 0).sum())])


def of_boxes(measure):
    return lambda x: 1 - measure(x, jnp.array([2.0, 2, 5, 6]))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: losses.cross_entropy(x, 0.3),
        lambda x: losses.focal(x, 1.0),
        lambda x: losses.focal(x, 0.0),
        lambda x: losses.quality_focal(x, 0.0),
        lambda x: losses.quality_focal(x, 0.5),
        lambda x: losses.heat_focal(x, 1.0),
        lambda x: losses.heat_focal(x, 0.2),
        lambda x: losses.smooth_l1(x, beta=0.0),
        losses.smooth_l1,
    ],
)
def test_values_and_gradients_are_finite_for_huge_logits(function):
    x = jnp.array([-1e4, -100.0, 0, 100, 1e4])
    values, gradients = jax.vmap(jax.value_and_grad(function))(x)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()


@pytest.mark.parametrize("measure", [boxes.iou, boxes.giou, boxes.diou, boxes.ciou])
def test_losses_of_boxes_have_finite_gradients_where_boxes_have_no_area(measure):
    found = jnp.array([[0.0, 0, 0, 0], [3, 3, 4, 9], [3, 3, 3, 9], [7, 7, 6, 6], [2, 2, 5, 6]])
    values, gradients = jax.vmap(jax.value_and_grad(of_boxes(measure)))(found)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    assert values[4] == 0
