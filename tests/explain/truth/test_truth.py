"""Tests of maps against closed forms, plain NumPy, and what captum and Quantus say where they are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.explain.attribution import gradient
from cnn_jax.explain.truth import controls
from cnn_jax.explain.truth.agreement import correlation, faithfulness, infidelity, squares
from cnn_jax.explain.truth.concentration import complexity, sparseness
from cnn_jax.explain.truth.localisation import class_mean, energy_inside, near, pointing, rank_accuracy
from cnn_jax.explain.truth.ranking import ranks, tied
from cnn_jax.explain.truth.removal import area, blurred, deletion, insertion, pixel_flipping
from cnn_jax.explain.truth.road import imputed, road
from cnn_jax.explain.truth.stability import sensitivity_max
from tests.explain.truth.make_oracles import FILE, SAMPLES, SHAPE, cases, score

KEY = jax.random.key(0)
CASE = cases()
X, MAPS, MASKS = (jnp.asarray(CASE[name]) for name in ("x", "maps", "masks"))
ORACLE = np.load(FILE)


def f(x: jax.Array) -> jax.Array:
    return score(x, CASE["weights"], jnp.sin)


def linear(x: jax.Array) -> jax.Array:
    return (CASE["weights"] * x).sum((1, 2, 3))


def test_ranks_order_a_map_and_ties_at_random() -> None:
    np.testing.assert_array_equal(ranks(jnp.array([[3.0, 9.0, -1.0, 4.0]]), KEY), [[2, 0, 3, 1]])
    plateau = jnp.array([[5.0] + [1.0] * 7])
    drawn = np.stack([ranks(plateau, key)[0] for key in jax.random.split(KEY, 20)])
    assert (np.sort(drawn, 1) == np.arange(8)).all() and (drawn[:, 0] == 0).all()
    assert len(np.unique(drawn[:, 1])) > 3
    np.testing.assert_allclose(tied(jnp.array([[1.0, 1, 2, 3], [1, 2, 3, 4], [2, 2, 2, 2]])), [0.5, 0, 1])


def test_deletion_and_insertion_of_a_linear_score() -> None:
    """Removed in the order of what counts, the score is what the sorted contributions have not yet summed to."""
    counts = (CASE["weights"] * CASE["x"]).sum(-1)
    falling = np.sort(counts.reshape(3, -1))[:, ::-1]
    steps = falling.shape[1]
    curve = falling.sum(1) - np.concatenate([np.zeros((3, 1)), falling.cumsum(1)], 1).T
    expected = np.trapezoid(curve, axis=0) / steps
    np.testing.assert_allclose(deletion(linear, X, jnp.asarray(counts), KEY, steps=steps), expected, rtol=1e-4)
    # Put back into nothing, the same numbers come from the other end; a map of x's shape counts by its sum.
    each = jnp.asarray(CASE["weights"] * CASE["x"])
    rising = insertion(linear, X, each, KEY, baseline=jnp.zeros(()), steps=steps)
    np.testing.assert_allclose(rising, falling.sum(1) - expected, rtol=1e-4)
    worst, random = (deletion(linear, X, m, KEY, steps=9) for m in (-jnp.asarray(counts), MAPS))
    best = deletion(linear, X, jnp.asarray(counts), KEY, steps=9)
    assert (best < random).all() and (random < worst).all()


def test_pixel_flipping_has_channels_apart_and_the_whole_score_first() -> None:
    counts = (CASE["weights"] * CASE["x"]).reshape(3, -1)
    falling = np.sort(counts)[:, ::-1]
    curve = falling.sum(1) - np.concatenate([np.zeros((3, 1)), falling.cumsum(1)], 1).T
    steps = counts.shape[1]
    found = pixel_flipping(linear, X, jnp.asarray(CASE["weights"] * CASE["x"]), KEY, steps=steps)
    np.testing.assert_allclose(found, np.trapezoid(curve, axis=0) / steps, rtol=1e-4)
    assert area(jnp.array([[1.0], [0.5], [0.0]])) == 0.5


def test_the_blur_is_that_of_the_authors_of_rise() -> None:
    """conv2d, padded with zeros, by gaussian_filter of a unit impulse (https://github.com/eclique/RISE, gkern)."""
    from scipy.ndimage import correlate, gaussian_filter

    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = gaussian_filter(impulse, 5)
    image = CASE["x"][:1]
    expected = np.stack([correlate(image[0, ..., c], kernel, mode="constant") for c in range(2)], -1)
    np.testing.assert_allclose(blurred(jnp.asarray(image))[0], expected, atol=1e-6)


def test_imputation_is_that_of_quantus_and_road_finds_what_counts() -> None:
    found = imputed(X, jnp.asarray(CASE["gone"]))
    np.testing.assert_allclose(found, ORACLE["imputed"].transpose(0, 2, 3, 1), atol=1e-5)
    ramp = jnp.arange(8.0)[None, :, None]  # in one dimension the mean of two neighbours is a line
    gone = jnp.array([[False, False, True, True, True, False, False, True]])
    np.testing.assert_allclose(imputed(ramp, gone)[0, :, 0], [0, 1, 2, 3, 4, 5, 6, 6], atol=1e-5)
    # A bright patch on a smooth ground is the score: who points at it loses it, in images of two channels too.
    x = jnp.zeros((2, 12, 12, 2)).at[:, 3:6, 3:6].set(5.0)
    patch = lambda x: x[:, 3:6, 3:6].mean((1, 2, 3))  # noqa: E731
    inside = x.sum(-1)
    right, wrong = (jax.jit(lambda m: road(patch, x, m, KEY))(m) for m in (inside, -inside))
    assert (right > 2).all() and np.allclose(right, -wrong, atol=0.1)


def test_infidelity_is_that_of_captum_and_0_for_a_linear_score() -> None:
    slope = gradient(f, X)
    how = dict(local=True, side=2, samples=SAMPLES)
    for scaled, name in ((False, "infidelity"), (True, "infidelity_scaled")):
        np.testing.assert_allclose(infidelity(f, X, slope, KEY, scaled=scaled, **how), ORACLE[name], rtol=1e-4)
    weights = gradient(linear, X)
    assert np.abs(infidelity(linear, X, weights, KEY, local=True, baseline=0.5)).max() < 1e-9
    counts = weights * (X - 0.5)
    assert np.abs(infidelity(linear, X, counts, KEY, baseline=0.5)).max() < 1e-9
    assert np.abs(infidelity(linear, X, 7 * counts, KEY, baseline=0.5)).max() < 1e-9  # the scale is taken out
    assert (infidelity(linear, X, 7 * counts, KEY, baseline=0.5, scaled=False) > 0.1).all()


def test_faithfulness_correlation_is_1_for_what_adds_up() -> None:
    counts = gradient(linear, X) * X
    np.testing.assert_allclose(faithfulness(linear, X, counts, KEY), 1, atol=1e-5)
    np.testing.assert_allclose(faithfulness(linear, X, -counts.sum(-1), KEY), -1, atol=1e-5)
    assert (jnp.abs(faithfulness(linear, X, MAPS, KEY)) < 0.6).all()
    np.testing.assert_array_equal(faithfulness(linear, X, jnp.zeros_like(MAPS), KEY), 0)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(MAPS[0], MAPS[1], strict=True)]
    np.testing.assert_allclose(correlation(MAPS[0], MAPS[1]), expected, rtol=1e-4)


def test_squares_are_whole_and_lie_anywhere() -> None:
    drawn = np.concatenate([squares(key, (8, 5, 6), 2) for key in jax.random.split(KEY, 8)])
    assert (drawn.sum((1, 2)) == 4).all() and drawn.any(0).all()


def test_sensitivity_max_is_that_of_captum() -> None:
    np.testing.assert_allclose(sensitivity_max(gradient, f, X, KEY, samples=SAMPLES), ORACLE["sensitivity"], rtol=1e-3)
    assert np.abs(sensitivity_max(gradient, linear, X, KEY)).max() < 1e-6


def test_concentration_is_that_of_quantus() -> None:
    np.testing.assert_allclose(sparseness(MAPS), ORACLE["sparseness"], rtol=1e-4)
    np.testing.assert_allclose(complexity(MAPS), ORACLE["complexity"], rtol=1e-4)
    peak, flat = jnp.zeros((1, 100)).at[0, 3].set(1.0), jnp.ones((1, 100))
    assert sparseness(peak) > 0.98 and abs(float(sparseness(flat)[0])) < 1e-6
    assert abs(float(complexity(peak)[0])) < 1e-6 and complexity(flat)[0] == pytest.approx(np.log(100), rel=1e-5)
    assert complexity(0 * flat)[0] == pytest.approx(np.log(100), rel=1e-5)


def test_localisation_is_that_of_quantus_where_it_is_right() -> None:
    np.testing.assert_allclose(rank_accuracy(ranks(MAPS, KEY), MASKS)[:2], ORACLE["rank"][:2])  # the third has ties
    np.testing.assert_allclose(energy_inside(MAPS, MASKS), ORACLE["mass"], rtol=1e-5)
    np.testing.assert_array_equal(pointing(MAPS, MASKS, tolerance=0)[:2], ORACLE["pointing"][:2])
    # Quantus: any of the maxima inside is a hit, so that a constant map is perfect. One drawn at random is not.
    assert ORACLE["pointing_of_a_constant"].all()
    np.testing.assert_allclose(pointing(jnp.ones_like(MAPS), MASKS, tolerance=0), MASKS.mean((1, 2)), rtol=1e-6)


def test_the_pointing_game_allows_a_distance_and_counts_by_class() -> None:
    mask = jnp.zeros((1, 20, 20), bool).at[0, 10, 10].set(True)
    y, x = np.mgrid[-10:10, -10:10]
    np.testing.assert_array_equal(near(mask, 3.0)[0], x**2 + y**2 < 9)  # TorchRay's condition
    at = lambda column: jnp.zeros((1, 20, 20)).at[0, 10, column].set(1.0)  # noqa: E731
    assert [float(pointing(at(c), mask, tolerance=3)[0]) for c in (10, 12, 13)] == [1, 1, 0]
    nothing = jnp.zeros((1, 20, 20), bool)
    assert np.isnan(pointing(at(3), nothing)).all() and np.isnan(energy_inside(at(3), nothing)).all()
    scores = np.array([1.0, 0.0, 1.0, 1.0, np.nan])
    assert class_mean(scores, np.array([0, 0, 1, 1, 2])) == 0.75


def test_controls_know_the_input_or_nothing() -> None:
    from scipy.ndimage import sobel

    image = CASE["x"][0]
    both = [[sobel(channel, axis, mode="nearest") for axis in (0, 1)] for channel in image.transpose(2, 0, 1)]
    expected = np.mean([np.hypot(*pair) for pair in both], 0)
    np.testing.assert_allclose(controls.edges(f, X)[0], expected, rtol=1e-4)
    bell = controls.centre(f, X)
    assert bell.shape == SHAPE[:-1] and (bell[0] == bell[2]).all() and bell[0].argmax() == 4 * 11 + 5
    assert bell[0, 4, 5 + 2] == pytest.approx(np.exp(-((2 / 2.75) ** 2) / 2), rel=1e-5)
    drawn = controls.random(f, X, key=KEY)
    assert drawn.shape == SHAPE[:-1] and abs(float(drawn.mean()) - 0.5) < 0.05
    signal = jnp.zeros((2, 8, 1))
    assert controls.centre(f, signal).shape == controls.edges(f, signal).shape == (2, 8)
