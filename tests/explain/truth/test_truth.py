"""Tests of maps against closed forms, plain NumPy, and what captum and Quantus say where they are right."""

from collections.abc import Callable
from functools import partial
from typing import Any

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


def run(metric: Callable[..., jax.Array], f: Callable[..., Any], *arrays: Any, **settings: Any) -> jax.Array:
    """metric(f, *arrays, **settings) as one program: one operation at a time takes far longer."""
    return jax.jit(lambda *arrays: metric(f, *arrays, **settings))(*arrays)


def f(x: jax.Array) -> jax.Array:
    return score(x, CASE["weights"], jnp.sin)


def linear(x: jax.Array) -> jax.Array:
    return (CASE["weights"] * x).sum((1, 2, 3))


def test_ranks_order_a_map_and_ties_at_random() -> None:
    np.testing.assert_array_equal(jax.jit(ranks)(jnp.array([[3.0, 9.0, -1.0, 4.0]]), KEY), [[2, 0, 3, 1]])
    plateau = jnp.broadcast_to(jnp.array([5.0] + [1.0] * 7), (20, 8))
    drawn = np.asarray(jax.jit(ranks)(plateau, KEY))
    assert (np.sort(drawn, 1) == np.arange(8)).all() and (drawn[:, 0] == 0).all()
    assert len(np.unique(drawn[:, 1])) > 3
    shares = jax.jit(tied)(jnp.array([[1.0, 1, 2, 3], [1, 2, 3, 4], [2, 2, 2, 2]]))
    np.testing.assert_allclose(shares, [0.5, 0, 1])


def test_deletion_and_insertion_of_a_linear_score() -> None:
    """Removed in the order of what counts, the score is what the sorted contributions have not yet summed to."""
    counts = (CASE["weights"] * CASE["x"]).sum(-1)
    falling = np.sort(counts.reshape(3, -1))[:, ::-1]
    steps = falling.shape[1]
    curve = falling.sum(1) - np.concatenate([np.zeros((3, 1)), falling.cumsum(1)], 1).T
    expected = np.trapezoid(curve, axis=0) / steps
    np.testing.assert_allclose(run(deletion, linear, X, jnp.asarray(counts), KEY, steps=steps), expected, rtol=1e-4)
    # Put back into nothing, the same numbers come from the other end; a map of x's shape counts by its sum.
    each = jnp.asarray(CASE["weights"] * CASE["x"])
    rising = run(insertion, linear, X, each, KEY, baseline=jnp.zeros(()), steps=steps)
    np.testing.assert_allclose(rising, falling.sum(1) - expected, rtol=1e-4)
    maps = jnp.stack([jnp.asarray(counts), MAPS, -jnp.asarray(counts)])
    best, random, worst = jax.jit(jax.vmap(lambda m: deletion(linear, X, m, KEY, steps=9)))(maps)
    assert (best < random).all() and (random < worst).all()


def test_pixel_flipping_has_channels_apart_and_the_whole_score_first() -> None:
    counts = (CASE["weights"] * CASE["x"]).reshape(3, -1)
    falling = np.sort(counts)[:, ::-1]
    curve = falling.sum(1) - np.concatenate([np.zeros((3, 1)), falling.cumsum(1)], 1).T
    steps = counts.shape[1]
    found = run(pixel_flipping, linear, X, jnp.asarray(CASE["weights"] * CASE["x"]), KEY, steps=steps)
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
    np.testing.assert_allclose(jax.jit(blurred)(image)[0], expected, atol=1e-6)


def test_imputation_is_that_of_quantus_and_road_finds_what_counts() -> None:
    found = jax.jit(imputed)(X, CASE["gone"])
    np.testing.assert_allclose(found, ORACLE["imputed"].transpose(0, 2, 3, 1), atol=1e-5)
    ramp = jnp.arange(8.0)[None, :, None]  # in one dimension the mean of two neighbours is a line
    gone = jnp.array([[False, False, True, True, True, False, False, True]])
    np.testing.assert_allclose(jax.jit(imputed)(ramp, gone)[0, :, 0], [0, 1, 2, 3, 4, 5, 6, 6], atol=1e-5)
    # A bright patch on a smooth ground is the score: who points at it loses it, in images of two channels too.
    x = jnp.zeros((2, 12, 12, 2)).at[:, 3:6, 3:6].set(5.0)
    patch = lambda x: x[:, 3:6, 3:6].mean((1, 2, 3))  # noqa: E731
    inside = x.sum(-1)
    right, wrong = jax.jit(jax.vmap(lambda m: road(patch, x, m, KEY)))(jnp.stack([inside, -inside]))
    assert (right > 2).all() and np.allclose(right, -wrong, atol=0.1)


def test_infidelity_is_that_of_captum_and_0_for_a_linear_score() -> None:
    weights = gradient(linear, X)
    counts = weights * (X - 0.5)

    @jax.jit
    def found(x: jax.Array) -> list[jax.Array]:
        how = dict(local=True, side=2, samples=SAMPLES)
        own = [infidelity(f, x, gradient(f, x), KEY, scaled=scaled, **how) for scaled in (False, True)]
        slope = infidelity(linear, x, weights, KEY, local=True, baseline=0.5)
        return [*own, slope, *(infidelity(linear, x, m, KEY, baseline=0.5) for m in (counts, 7 * counts))]

    plain, scaled, *nothing = found(X)
    np.testing.assert_allclose(plain, ORACLE["infidelity"], rtol=1e-4)
    np.testing.assert_allclose(scaled, ORACLE["infidelity_scaled"], rtol=1e-4)
    assert np.abs(nothing).max() < 1e-9  # also of 7 counts: the scale is taken out
    assert (run(infidelity, linear, X, 7 * counts, KEY, baseline=0.5, scaled=False) > 0.1).all()


def test_faithfulness_correlation_is_1_for_what_adds_up() -> None:
    counts = gradient(linear, X) * X
    maps = (counts, -counts.sum(-1), MAPS, jnp.zeros_like(MAPS))
    right, wrong, random, nothing = jax.jit(lambda maps: [faithfulness(linear, X, m, KEY) for m in maps])(maps)
    np.testing.assert_allclose(right, 1, atol=1e-5)
    np.testing.assert_allclose(wrong, -1, atol=1e-5)
    assert (jnp.abs(random) < 0.6).all() and (nothing == 0).all()
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(MAPS[0], MAPS[1], strict=True)]
    np.testing.assert_allclose(jax.jit(correlation)(MAPS[0], MAPS[1]), expected, rtol=1e-4)


def test_squares_are_whole_and_lie_anywhere() -> None:
    drawn = np.concatenate(jax.jit(jax.vmap(partial(squares, shape=(8, 5, 6), side=2)))(jax.random.split(KEY, 8)))
    assert (drawn.sum((1, 2)) == 4).all() and drawn.any(0).all()


def test_sensitivity_max_is_that_of_captum() -> None:
    np.testing.assert_allclose(
        run(partial(sensitivity_max, gradient), f, X, KEY, samples=SAMPLES), ORACLE["sensitivity"], rtol=1e-3
    )
    assert np.abs(run(partial(sensitivity_max, gradient), linear, X, KEY)).max() < 1e-6


def test_concentration_is_that_of_quantus() -> None:
    peak, flat = jnp.zeros((1, 100)).at[0, 3].set(1.0), jnp.ones((1, 100))
    maps = (MAPS, jnp.concatenate([peak, flat, 0 * flat]))
    (sparse, gini), (complex_, entropy) = jax.jit(
        lambda m: [[of(one) for one in m] for of in (sparseness, complexity)]
    )(maps)
    np.testing.assert_allclose(sparse, ORACLE["sparseness"], rtol=1e-4)
    np.testing.assert_allclose(complex_, ORACLE["complexity"], rtol=1e-4)
    np.testing.assert_allclose(gini, [0.99, 0, 0], atol=1e-4)
    np.testing.assert_allclose(entropy, [0, np.log(100), np.log(100)], atol=1e-4)


def test_localisation_is_that_of_quantus_where_it_is_right() -> None:
    found = jax.jit(
        lambda m: [
            rank_accuracy(ranks(m, KEY), MASKS),
            energy_inside(m, MASKS),
            pointing(m, MASKS, tolerance=0),
            pointing(jnp.ones_like(m), MASKS, tolerance=0),
        ]
    )(MAPS)
    np.testing.assert_allclose(found[0][:2], ORACLE["rank"][:2])  # the third map has ties
    np.testing.assert_allclose(found[1], ORACLE["mass"], rtol=1e-5)
    np.testing.assert_array_equal(found[2][:2], ORACLE["pointing"][:2])
    # Quantus: any of the maxima inside is a hit, so that a constant map is perfect. One drawn at random is not.
    assert ORACLE["pointing_of_a_constant"].all()
    np.testing.assert_allclose(found[3], np.asarray(MASKS).mean((1, 2)), rtol=1e-6)


def test_the_pointing_game_allows_a_distance_and_counts_by_class() -> None:
    mask = jnp.zeros((1, 20, 20), bool).at[0, 10, 10].set(True)
    y, x = np.mgrid[-10:10, -10:10]
    np.testing.assert_array_equal(
        jax.jit(near, static_argnums=1)(mask, 3.0)[0], x**2 + y**2 < 9
    )  # TorchRay's condition
    at = np.zeros((3, 20, 20), np.float32)
    at[np.arange(3), 10, (10, 12, 13)] = 1
    found = jax.jit(lambda m, masks: [pointing(m, masks, tolerance=3), energy_inside(m, masks)])
    hits, inside = found(at, np.repeat(mask, 3, 0))
    assert hits.tolist() == [1, 1, 0] and inside.tolist() == [1, 0, 0]
    assert np.isnan(found(at, np.zeros((3, 20, 20), bool))).all()
    scores = np.array([1.0, 0.0, 1.0, 1.0, np.nan])
    assert class_mean(scores, np.array([0, 0, 1, 1, 2])) == 0.75


def test_controls_know_the_input_or_nothing() -> None:
    from scipy.ndimage import sobel

    image = CASE["x"][0]
    both = [[sobel(channel, axis, mode="nearest") for axis in (0, 1)] for channel in image.transpose(2, 0, 1)]
    expected = np.mean([np.hypot(*pair) for pair in both], 0)
    np.testing.assert_allclose(run(controls.edges, f, X)[0], expected, rtol=1e-4)
    bell = run(controls.centre, f, X)
    assert bell.shape == SHAPE[:-1] and (bell[0] == bell[2]).all() and bell[0].argmax() == 4 * 11 + 5
    assert bell[0, 4, 5 + 2] == pytest.approx(np.exp(-((2 / 2.75) ** 2) / 2), rel=1e-5)
    drawn = controls.random(f, X, key=KEY)
    assert drawn.shape == SHAPE[:-1] and abs(float(drawn.mean()) - 0.5) < 0.05
    signal = jnp.zeros((2, 8, 1))
    assert controls.centre(f, signal).shape == controls.edges(f, signal).shape == (2, 8)
