"""Methods where the answer is known: linear scores, exact Shapley values, NumPy and scikit-learn."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from cnn_jax.explain import cams, sampled
from cnn_jax.explain.gradients import deep_lift, guided_backprop
from cnn_jax.explain.perturbation import occlusion, rise
from cnn_jax.explain.program import split
from cnn_jax.explain.relevance import lrp
from cnn_jax.explain.surrogates import coalitions, kernel_shap, lime

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def line():
    """x [2, 8, 3], a linear score of it, and its weights."""
    draw = np.random.default_rng(0)
    x, w = (jnp.asarray(draw.normal(size=(2, 8, 3)), jnp.float32) for _ in range(2))
    return x, lambda x: (x * w).sum((1, 2)) + 1.0, w


def test_a_linear_score(line, jit):
    x, f, w = line
    noise = dict(key=KEY, samples=6, chunk=2)
    two = jnp.stack([0 * x[:1], 0 * x[:1] + 1])
    each = np.asarray((x * w).sum(-1))

    def everything(x):
        return [
            (sampled.smooth_grad(f, x, **noise), w),
            (sampled.var_grad(f, x, **noise), 0 * w),
            (sampled.square_grad(f, x, **noise), w**2),
            (sampled.integrated_gradients(f, x, reference=0.5, steps=4, variant="pair"), (x - 0.5) * w),
            (sampled.expected_gradients(f, x, references=x[:1] * 0 + 2, **noise), (x - 2) * w),
            (sampled.mean_over_references(deep_lift, f, x, two, chunk=1), (x - 0.5) * w),
            (deep_lift(f, x, reference=x[::-1]), (x - x[::-1]) * w),
            (lrp(f, x).sum((1, 2)) + 1, f(x)),
            (occlusion(f, x, window=1, stride=1), each),
            # the last window is cut, as captum's is
            (occlusion(f, x, window=3, stride=3)[:, 6:], each[:, 6:].sum(1, keepdims=True).repeat(2, 1)),
        ]

    for found, expected in jit(everything)(x):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_variance_is_that_of_the_single_gradients(jit):
    """In chunks or not, of gradients that have a large mean; and the noise is a share of each example's range."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5)), jnp.float32) * jnp.asarray([[1.0], [10.0]])
    f = lambda x: 1000 * x.sum(1) + jnp.sin(x).sum(1)  # noqa: E731
    keys = jax.random.split(KEY, 12)

    def everything(x):
        near = jax.vmap(lambda key: sampled.noisy(x, key, 0.15))(keys)
        found = sampled.var_grad(f, x, key=KEY, samples=12, chunk=4)
        return near, found, sampled.smooth_grad(f, x, key=KEY, samples=12, chunk=3)

    near, variance, mean = (np.asarray(a, np.float64) for a in jit(everything)(x))
    single = 1000 + np.cos(near)
    np.testing.assert_allclose(variance, single.var(0, ddof=1), rtol=2e-3)
    np.testing.assert_allclose(mean, single.mean(0), rtol=1e-6)
    spread = np.ptp(np.asarray(x), axis=1)
    np.testing.assert_allclose((near - np.asarray(x)).std((0, 2)), 0.15 * spread, rtol=0.35)


def interacting(x, module=np):
    """[B, L, C] -> [B]: products of neighbours and a threshold, so that parts are no mere sums."""
    parts = x.sum(-1)
    return (parts[:, :-1] * parts[:, 1:]).sum(1) + module.maximum(parts.sum(1) - 1, 0)


def test_kernel_shap_is_exact_where_all_subsets_fit(line):
    x = np.asarray(line[0])
    where = jnp.asarray([[0, 0, 1, 1, 2, 3, 4, 4], [4, 3, 2, 1, 0, 0, 0, 0]])
    found = np.asarray(
        jax.jit(lambda x: kernel_shap(lambda x: interacting(x, jnp), x, segments=where, count=5, samples=30))(x)
    )

    def value(shown, k):
        kept = np.isin(np.asarray(where)[k], list(shown))
        return float(interacting(np.where(kept[None, :, None], x[k][None], 0))[0])

    for k in range(2):
        cached = {s: value(s, k) for s in {frozenset(p[:i]) for p in permutations(range(5)) for i in range(6)}}
        exact = np.zeros(5)
        for order in permutations(range(5)):
            for i, part in enumerate(order):
                exact[part] += (cached[frozenset(order[: i + 1])] - cached[frozenset(order[:i])]) / 120
        np.testing.assert_allclose(found[k], exact[np.asarray(where)[k]], atol=2e-3)
        assert exact.sum() == pytest.approx(float(interacting(x)[k] - interacting(0 * x)[k]), abs=1e-4)


def test_sampled_coalitions_come_in_pairs_with_the_weights_of_their_sizes():
    shown, weights = coalitions(12, 400, 0)
    assert len(shown) <= 400 and not {0, 12} & set(shown.sum(1).astype(int))
    assert {tuple(row) for row in shown} == {tuple(1 - row) for row in shown}
    sizes = shown.sum(1)
    total = {k: 11 / (k * (12 - k)) for k in range(1, 12)}
    assert weights.sum() == pytest.approx(sum(total.values()))
    for k in (1, 2, 10, 11):  # 24 + 132 are enumerated
        assert weights[sizes == k].sum() == pytest.approx(total[k])
    with pytest.raises(ValueError, match="1 segments"):
        coalitions(1, 10, 0)


def test_lime_is_a_weighted_ridge_regression(line, jit):
    x = np.asarray(line[0])
    where = np.asarray([[0, 0, 1, 1, 2, 2, 3, 3]] * 2)
    run = lambda x: lime(lambda x: interacting(x, jnp), x, segments=jnp.asarray(where), count=4, samples=50)  # noqa: E731
    found = np.asarray(jit(run)(x))
    shown = np.random.default_rng(0).integers(0, 2, (50, 4)).astype(float)
    shown[0] = 1
    scores = np.stack([interacting(x * row[where][..., None]) for row in shown])
    distance = 1 - np.sqrt(shown.mean(1))
    weights = np.sqrt(np.exp(-(distance**2) / 0.25**2))
    expected = Ridge(alpha=1.0).fit(shown, scores, sample_weight=weights).coef_
    np.testing.assert_allclose(found, expected[:, where[0]], rtol=1e-3, atol=1e-4)


def test_rise_of_a_constant_and_of_one_pixel(jit):
    x = jnp.ones((1, 24, 20, 1))
    settings = dict(key=KEY, masks=400, cells=4, chunk=50)
    constant, point = jit(
        lambda x: (
            rise(lambda x: x.sum((1, 2, 3)) * 0 + 3.0, x, **settings),
            rise(lambda x: x[:, 7, 11, 0], x, variant="xplique", **settings),
        )
    )(x)
    np.testing.assert_allclose(constant.mean(), 3, rtol=0.1)
    at = np.unravel_index(np.asarray(point[0]).argmax(), point[0].shape)
    assert abs(at[0] - 7) <= 2 and abs(at[1] - 11) <= 2


def test_maps_of_a_single_dimension_and_layers_that_are_none(jit):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 4)), jnp.float32)

    def g(x):
        a = jax.nn.relu(x[:, ::2])
        pooled = a.mean(1)
        return pooled @ jnp.asarray([1.0, -1.0, 0.5, 0.0]), {"a": a, "pooled": pooled, "lost": a * 2}

    weights = np.asarray([1.0, -1.0, 0.5, 0.0]) / 6
    a = np.maximum(np.asarray(x)[:, ::2], 0)

    def everything(x):
        feature, tail = split(g, x, "a")
        weighed = [cams.cam(g, x, "a", weigh, positive=False) for weigh in (cams.grad_cam, cams.hires_cam)]
        return weighed, tail(feature), g(x)[0]

    (found, other), ending, score = jit(everything)(x)
    assert found.shape == (2, 12)
    np.testing.assert_allclose(ending, score, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0], (a * weights).sum(-1)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-6)
    for layer, said in {"b": "no layer 'b'", "pooled": "one position", "lost": "does not depend on"}.items():
        with pytest.raises(ValueError, match=said):
            cams.cam(g, x, layer, cams.grad_cam)


def test_rules_enter_whatever_a_program_is_made_of(jit):
    """DeepLIFT adds up through gates, norms, remat, scan, a written-out relu, maxima and a softmax; captum's does not.

    Its softmax makes an example's attribution depend on its neighbours, which is not so here.
    """
    draw = np.random.default_rng(0)
    with jax.enable_x64(True):
        w = [jnp.asarray(draw.normal(size=size) / 2) for size in [(6, 8), (8, 8), (8, 8), (8, 3)]]
        x, other = (jnp.asarray(draw.normal(size=(4, 6))) for _ in range(2))

        def f(x):
            h = jax.nn.silu(x @ w[0])
            h = h * jax.nn.sigmoid(h @ w[1])
            h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)
            h = jax.checkpoint(lambda h: jax.nn.gelu(h @ w[2], approximate=False))(h)
            h, _ = jax.lax.scan(lambda h, _: (jax.nn.relu(h @ w[1]), None), h, None, length=3)
            h = jnp.where(h > 0.3, h, 0.1 * h)
            h = jnp.maximum(h, h[:, ::-1])
            return jax.nn.softmax(h @ w[3])[:, 1] + h.max(-1) * 0.1

        both = lambda x, other: (deep_lift(f, x, reference=other), guided_backprop(f, x), f(x) - f(other))  # noqa: E731
        found, guided, change = map(np.asarray, jit(both)(x, other))
        np.testing.assert_allclose(found.sum(-1), change, rtol=1e-9)
        assert np.isfinite(guided).all()
        scale = jnp.arange(1.0, 7.0)  # a LayerNorm as Flax has it: the statistic, which is held constant, times a scale
        norm = lambda x: (x - x.mean(-1, keepdims=True)) * (jax.lax.rsqrt(x.var(-1, keepdims=True)) * scale[None])  # noqa: E731
        np.testing.assert_allclose(jit(lambda x: lrp(lambda x: norm(x)[:, 2], x))(x).sum(-1), norm(x)[:, 2], rtol=1e-4)
        with pytest.raises(ValueError, match="LRP is not defined for exp, as of a softmax"):
            lrp(lambda x: jax.nn.softmax(x @ w[0])[:, 1], x)
        with pytest.raises(ValueError, match="no rule for the 'while'"):
            deep_lift(lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c * 2, x).sum(-1), x)
