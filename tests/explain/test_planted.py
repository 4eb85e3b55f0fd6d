"""Methods marked on networks that can only have looked at one place: who does not point there fails."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data.spec import with_statistics
from cnn_jax.explain import benchmark as benchmarks
from cnn_jax.explain.attribution import gradient, positions
from cnn_jax.explain.benchmark import CONTROLS, MEASURES, benchmark, lines, table
from cnn_jax.explain.methods import METHODS
from cnn_jax.explain.truth import sanity
from cnn_jax.explain.truth.concentration import sparseness
from cnn_jax.explain.truth.localisation import energy_inside, pointing
from cnn_jax.explain.truth.similarity import spearman
from cnn_jax.explain.verdicts import verdicts, words
from cnn_jax.report import truth
from cnn_jax.tasks.classify import classify
from cnn_jax.train.predictor import Predictor, compiler
from tests.explain.planted import Net, read, splits, variables

COUNT = 32
NET = Net()
TEST = splits()["test"]
BATCH = TEST.batch(np.arange(COUNT))
X, LABELS, MASKS = jnp.asarray(read(BATCH["image"])), jnp.asarray(BATCH["label"]), jnp.asarray(BATCH["patch"] > 0)
OWN, OTHER = variables()
KEY = jax.random.key(0)


def logits(variables, x):
    return NET.apply(variables, x, train=False)[0]


def of_label(variables, labels):
    return lambda x: logits(variables, x)[jnp.arange(len(x)), labels]


@pytest.fixture(scope="module")
def of():
    """variables -> the gradient's maps [COUNT, 8, 8], compiled."""
    return jax.jit(lambda variables: positions(gradient(of_label(variables, LABELS), X), X))


@pytest.fixture(scope="module")
def fresh():
    return jax.jit(partial(NET.init, train=False))(KEY, X[:1])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    spec = with_statistics(TEST.spec, (0.3,), (1.0,))
    task = classify(NET, spec)
    return Predictor(spec, NET, task, OWN, compiler(spec, jax.devices()[:1], "native"), 1)


def test_the_networks_know_the_pattern() -> None:
    for tree in (OWN, OTHER):
        assert (np.asarray(jax.jit(logits)(tree, X)).argmax(-1) == LABELS).mean() > 0.9


def test_guided_backpropagation_fails_the_sanity_tests_and_the_gradient_passes(predictor, fresh) -> None:
    """The negative control: it shows as much for random weights, and for another class."""
    methods = {name: METHODS[name] for name in ("gradient", "guided_backprop")}
    found = verdicts(predictor, OTHER, {"image": BATCH["image"]}, methods, memorised=fresh, batch_size=20)
    for name, sane in (("gradient", True), ("guided_backprop", False)):
        assert {verdict.passes for verdict in found[name]} == {sane}, (name, found[name])
        assert "of random labels" in words(found[name])
    assert words(found["gradient"]).startswith("sanity passed: maps of a random model ")
    assert words(found["guided_backprop"]).startswith("sanity FAILED: maps of a random model 0.")


def test_mprt_goes_from_the_input_on_and_leaves_out_the_unrandomised(of, fresh) -> None:
    assert list(sanity.blocks(NET, (8, 8, 1))) == ["stage0", "stage1", "stage2", "stage3", "classifier"]
    parts = {"first": ["params/conv0/kernel", "params/conv0/bias"], "last": ["params/classifier/kernel"]}
    up, down = (sanity.mprt(of, OWN, fresh, parts, top_down=way) for way in (False, True))
    assert list(up) == ["first", "last"] and list(down) == ["last", "first"]
    np.testing.assert_allclose(up["last"], down["first"], atol=1e-5)  # in the end all is random
    own = sanity.randomised(OWN, fresh, parts["first"])
    np.testing.assert_array_equal(own["params"]["conv0"]["kernel"], fresh["params"]["conv0"]["kernel"])
    np.testing.assert_array_equal(own["params"]["conv1"]["kernel"], OWN["params"]["conv1"]["kernel"])
    np.testing.assert_allclose(up["first"], spearman(of(OWN), of(own)), atol=1e-5)
    rise = sanity.efficient_mprt(of, OWN, fresh)
    before, after = (np.asarray(sanity.entropy(of(tree))) for tree in (OWN, sanity.randomised(OWN, fresh, [*_all()])))
    np.testing.assert_allclose(rise, (after - before) / before, rtol=1e-4)
    counts, _ = np.histogram(np.asarray(of(OWN))[0], 100)
    shares = counts[counts > 0] / counts.sum()
    assert before[0] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-4)


def _all() -> list[str]:
    return sum(sanity.blocks(NET, (8, 8, 1)).values(), [])


def test_smooth_random_logit_and_label_tests() -> None:
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 1)).astype(np.float32))
    square = lambda x: (weights * x**2).sum((1, 2, 3))  # noqa: E731
    found = jax.jit(partial(sanity.smooth, gradient, square, repeats=30, noise=0.1))(X, KEY)
    np.testing.assert_allclose(found, 2 * weights * X, atol=0.3)  # the noise is averaged out
    assert not np.allclose(found, 2 * weights * X)
    two = lambda x: jnp.stack([square(x), -square(x)], -1)  # noqa: E731
    another = jax.jit(partial(sanity.random_logit, gradient, two))(X, LABELS % 2, KEY)
    np.testing.assert_allclose(another, -1, atol=1e-5)
    of = lambda scale: scale * X  # noqa: E731
    np.testing.assert_allclose(sanity.label_randomisation(of, 1.0, 2.0), 1, atol=1e-5)


def test_spearman_is_that_of_scipy() -> None:
    from scipy.stats import spearmanr

    a, b = np.random.default_rng(0).integers(-5, 6, size=(2, 3, 30)).astype(np.float32)  # with ties
    for signed in (True, False):
        expected = [spearmanr(*(v if signed else np.abs(v) for v in pair)).statistic for pair in zip(a, b, strict=True)]
        np.testing.assert_allclose(jax.jit(partial(spearman, signed=signed))(a, b), expected, atol=1e-5)


def test_the_benchmark_ranks_a_method_above_the_controls(predictor, tmp_path) -> None:
    methods = {"gradient": METHODS["gradient"]}
    found = benchmark(
        predictor, {"image": BATCH["image"]}, methods, masks=lambda rows, _: BATCH["patch"][rows] > 0, batch_size=20
    )
    assert found.methods == ["gradient", *CONTROLS] and found.values.shape == (4, len(MEASURES), COUNT)
    at = {name: found.values[:, k] for k, name in enumerate(MEASURES)}
    assert len(found.targets) == COUNT and np.isnan(at["sensitivity_max"][1:]).all()
    # The same numbers, one by one: the padding of the second batch has left no trace.
    surest = jax.jit(logits)(OWN, X).argmax(-1)
    places, energy, hits = jax.jit(_marked)(surest)
    np.testing.assert_allclose(at["energy_inside"][0], energy, rtol=1e-3)
    np.testing.assert_allclose(at["pointing"][0], hits)
    assert at["sparseness"][0] == pytest.approx(np.asarray(sparseness(places)), rel=1e-3)
    rows = table(found)
    assert rows[0].method == "gradient"
    for measure in ("energy_inside", "pointing", "rank_accuracy", "deletion", "road"):
        assert set(CONTROLS) == set(rows[0].beaten[measure]), measure  # it points at the patch
    assert all(not beaten for row in rows[1:] for beaten in row.beaten.values())
    head, cells = lines(rows)
    assert head[:3] == ["method", "mean rank", "deletion ↓"] and len(cells) == 4
    directions = {name: benchmarks.ARROWS[sign] for name, sign in MEASURES.items()}
    truth.draw(rows, directions, list(CONTROLS), tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 10_000


def _marked(labels):
    places = jnp.abs(gradient(of_label(OWN, labels), X)).sum(-1)
    return places, energy_inside(places, MASKS), pointing(places, MASKS, tolerance=15 / 224 * 8)
