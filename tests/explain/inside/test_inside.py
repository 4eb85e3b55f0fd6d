"""What lies inside a network, on numbers whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.explain.inside.cka import between, cka
from cnn_jax.explain.inside.concepts import concepts
from cnn_jax.explain.inside.dissection import dissect, of_classes
from cnn_jax.explain.inside.examples import nearest, patch, strongest
from cnn_jax.explain.inside.tcav import cav, layer_slopes, tcav
from cnn_jax.explain.inside.tracin import tracin

DRAW = np.random.default_rng(0)


def test_cka_is_1_for_a_rotation_and_near_0_for_what_is_independent() -> None:
    a, b = DRAW.normal(size=(40, 12)), DRAW.normal(size=(40, 90))
    turn = np.linalg.qr(DRAW.normal(size=(12, 12)))[0]
    for unbiased in (True, False):
        assert cka(a, 3 * a @ turn + 1, unbiased=unbiased) == pytest.approx(1)
    x, y = (v - v.mean(0) for v in (a, b))
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert cka(a, b, unbiased=False) == pytest.approx(expected)  # Kornblith et al., equation 6
    assert expected > 0.4 and abs(cka(a, b)) < 0.1  # more units than examples look alike but for the estimator
    found = between({"a": a, "b": b}, {"a": a})
    assert found.shape == (2, 1) and found[0, 0] == pytest.approx(1) and found[1, 0] == cka(b, a)
    with pytest.raises(ValueError, match="4 at least: there are 40 and 39"):
        cka(a, b[1:])


def test_the_strongest_examples_are_found_in_batches() -> None:
    maps = DRAW.normal(size=(23, 4, 5, 3)).astype(np.float32)
    index = np.arange(100, 123)
    found = strongest(((maps[i : i + 5], index[i : i + 5]) for i in range(0, 23, 5)), k=4)
    for unit in range(3):
        best = maps[..., unit].max((1, 2))
        order = np.argsort(-best)[:4]
        np.testing.assert_array_equal(found.rows[unit], index[order])
        np.testing.assert_allclose(found.values[unit], best[order])
        for rank, row in enumerate(order):
            assert maps[row][tuple(found.places[unit, rank])][unit] == best[row]
    example = np.arange(16 * 20).reshape(16, 20, 1)
    np.testing.assert_array_equal(patch(example, np.array([1, 2]), (4, 5), 4), example[4:8, 8:12])
    np.testing.assert_array_equal(patch(example, np.array([0, 4]), (4, 5), 8), example[:8, 12:])
    vectors = strongest([(maps[:, 0, 0], index)], k=30)
    assert vectors.rows.shape == (3, 23) and vectors.places.shape == (3, 23, 0)
    with pytest.raises(ValueError, match="no examples"):
        strongest([])


def test_the_nearest_by_angle() -> None:
    found = nearest(np.array([[2.0, 0.1]]), np.array([[0.0, 1.0], [0.1, 0.0], [-5.0, 0.0], [3.0, 3.0]]), k=3)
    np.testing.assert_array_equal(found.rows, [[1, 3, 0]])
    assert found.similarity[0, 0] == pytest.approx(2 / np.hypot(2, 0.1))


def test_dissection_finds_the_unit_of_each_concept() -> None:
    classes = np.zeros((6, 16, 16), int)
    for row in range(6):
        classes[row, 2 * row : 2 * row + 4, 4:8] = 1
        classes[row, 0:4, 8:16] = 2
    small = classes[:, ::2, ::2]
    maps = np.stack([(small == 2), (small == 1), DRAW.random(small.shape)], -1).astype(np.float32)
    masks = of_classes(classes, 3)[..., 1:]
    found = dissect(maps, masks, share=0.13, at_once=4)
    np.testing.assert_array_equal(found.best[:2], [1, 0])
    assert found.iou[0, 1] > 0.4 and found.iou[1, 0] > 0.4 and found.iou[2].max() < 0.2
    # Written out for one unit, at the size of the masks.
    large = maps.repeat(2, 1).repeat(2, 2)
    same = dissect(large, masks, share=0.08)
    on = large[..., 2] >= np.float32(np.quantile(large[..., 2], 0.92)) - 1e-5
    there = masks[..., 0]
    assert same.iou[2, 0] == pytest.approx((on & there).sum() / (on | there).sum())


def test_tcav_knows_a_concept_that_counts_from_one_that_does_not() -> None:
    direction = np.zeros(30)
    direction[3] = 1
    concept, unknown = DRAW.normal(size=(20, 30)) + 3 * direction, DRAW.normal(size=(20, 30))
    others = DRAW.normal(size=(200, 30))
    slopes = direction + 0.4 * DRAW.normal(size=(50, 30))  # the logit grows along the concept
    found = tcav(concept, others, slopes, tests=3)
    assert found.score > 0.9 and found.p < 1e-3 and found.accuracy > 0.8
    assert found.corrected == pytest.approx(min(3 * found.p, 1))
    assert tcav(concept, others, -slopes).score < 0.1
    nothing = tcav(unknown, others, slopes, tests=3)
    assert nothing.corrected > 0.05 and nothing.accuracy < 0.75
    vector, middle = cav(concept, others[:20])
    assert np.linalg.norm(vector) == pytest.approx(1) and vector.argmax() == 3 and 0.5 < middle < 2.5
    with pytest.raises(ValueError, match="needs 40 random ones"):
        tcav(concept, others[:39], slopes)


def test_slopes_are_by_what_is_the_same_everywhere() -> None:
    def g(x):
        maps = 2 * x
        return (maps.mean((1, 2)) ** 2).sum(-1), {"map": maps}

    x = DRAW.normal(size=(3, 4, 5, 2)).astype(np.float32)
    means, slopes = jax.jit(lambda x: layer_slopes(g, x, "map"))(x)
    np.testing.assert_allclose(means, 2 * x.mean((1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slopes, 2 * means, rtol=1e-4, atol=1e-6)


def test_concepts_are_the_parts_that_maps_are_made_of() -> None:
    parts = np.array([[1.0, 1, 0, 0, 0], [0, 0, 2, 1, 0]])
    where = DRAW.random((4, 6, 6, 2)) * (DRAW.random((4, 6, 6, 2)) < 0.5)
    found = concepts(where @ parts, 2)
    assert found.explained > 0.99 and found.maps.shape == (4, 6, 6, 2)
    unit = found.directions / np.linalg.norm(found.directions, axis=1, keepdims=True)
    cosines = unit @ (parts / np.linalg.norm(parts, axis=1, keepdims=True)).T
    np.testing.assert_allclose(np.sort(cosines.max(1)), 1, atol=0.02)
    with pytest.raises(ValueError, match="behind a relu"):
        concepts(where - 1, 2)
    with pytest.raises(ValueError, match="6 concepts cannot be found in 5 units"):
        concepts(where @ parts, 6)


def test_tracin_is_the_product_of_gradients_at_each_checkpoint() -> None:
    """Of linear regression: the gradient of an example is its error times its input."""
    x, y = DRAW.normal(size=(7, 3)).astype(np.float32), DRAW.normal(size=7).astype(np.float32)

    def losses(params, state, batch):
        return (batch[0] @ params - batch[1]) ** 2 / 2

    path = [(DRAW.normal(size=3).astype(np.float32), rate) for rate in (0.1, 0.3)]
    expected = np.zeros((2, 7))
    for params, rate in path:
        slopes = (x @ params - y)[:, None] * x
        expected += rate * slopes[:2] @ slopes.T
    batches = lambda: ((x[i : i + 4], y[i : i + 4]) for i in (0, 4))  # noqa: E731
    found = tracin(losses, [(jnp.asarray(p), {}, r) for p, r in path], (x[:2], y[:2]), batches)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert isinstance(losses(path[0][0], {}, (x, y)), np.ndarray | jax.Array)
