"""The task of segmentation: which pixels count, what each output of a model costs, and what is no segmentation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.batch import Batch
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import IGNORED, VALID, Field, Spec
from cnn_jax.tasks.segment import at_size_of, segment

FIELDS = {"picture": Field("image", (4, 6, 1), "uint8"), "kind": Field("class_map", (4, 6), "uint8")}
SPEC = Spec(
    name="little",
    classes=("background", "a", "b"),
    inputs={"picture": FIELDS["picture"]},
    targets={"kind": FIELDS["kind"]},
    prepare=ImagePrepare(size=(4, 6), channels=1),
    licence="",
    citation="",
    fingerprint="",
)


class Echo(nn.Module):
    """Logits that are the brightness of a pixel times a weight for each class; also of every second pixel."""

    def loss_weights(self) -> dict[str, float]:
        return {"logits": 0.75, "half": 0.25}

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Any:
        weights = self.param("weight", lambda key: jnp.array([0.0, 1.0, 2.0]))
        return x * weights, {"half": x[:, ::2, ::2] * weights * 3}


def batch() -> Batch:
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, 3, (2, 4, 6)).astype(np.uint8)
    kinds[0, 0] = IGNORED
    pixels = draw.integers(0, 256, (2, 4, 6, 1)).astype(np.uint8)
    arrays = {"picture": pixels, "kind": kinds, VALID: np.array([1, 0], np.float32)}
    return Batch({name: jnp.asarray(array) for name, array in arrays.items()}, FIELDS)


def mean_of(logits: np.ndarray, truth: np.ndarray) -> float:
    """Minus the mean logarithm of the probability of the true class, over the pixels that count."""
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    known = truth != IGNORED
    return float(-logs[known, truth[known]].mean())


def test_ignored_pixels_and_padding_cost_nothing_and_every_trained_output_counts_by_its_weight():
    task, data = segment(Echo(), SPEC), batch()
    variables = task.init(jax.random.key(0))
    mean, _, sums = task.loss(variables, data, jax.random.key(1), True)
    x, truth = np.asarray(data["picture"], np.float64)[0] / 255, np.asarray(data["kind"])[0]
    weights = np.array([0, 1, 2])
    fine, coarse = mean_of(x * weights, truth), mean_of(x[::2, ::2] * weights * 3, truth[1::2, 1::2])
    assert float(mean) == pytest.approx(0.75 * fine + 0.25 * coarse, rel=1e-6)
    assert [float(s / c) for s, c in (sums["cross_entropy"], sums["half_cross_entropy"])] == pytest.approx(
        [0.75 * fine, 0.25 * coarse], rel=1e-6
    )
    # That of validation is of the logits that predictions are made of.
    seen, _, _ = task.loss(variables, data, jax.random.key(1), False)
    assert float(seen) == pytest.approx(fine, rel=1e-6)
    windows, _, _ = segment(Echo(), SPEC, window=3).loss(variables, data, jax.random.key(1), False)
    assert float(windows) == pytest.approx(fine, rel=1e-6)
    right = ((x[..., 0] > 0) * 2 == truth)[truth != IGNORED]
    assert float(sums["pixel_accuracy"][0]) == right.sum() and float(sums["pixel_accuracy"][1]) == right.size
    assert np.asarray(task.predict(variables, data)["class_map"]).dtype == np.uint8


def test_settings_of_the_task_average_the_logits_of_a_prediction():
    x = jnp.linspace(-1, 1, 24).reshape(1, 4, 6, 1)
    data = Batch({"picture": x, VALID: jnp.ones(1)}, {"picture": FIELDS["picture"]})
    variables = {"params": {"weight": jnp.arange(3.0) + 1}}
    settings: dict[str, Any] = {"window": (2, 3), "step": 0.5, "flips": "both", "scales": (1, 2)}

    class Corner(nn.Module):
        """Says class 0 of the upper left pixel of what it sees, 1 of all others."""

        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> Any:
            return (0 * x + jnp.eye(3)[1]).at[:, 0, 0].set(jnp.eye(3)[0]), {}

    for model, same in ((Echo(), True), (Corner(), False)):
        plain, averaged = (segment(model, SPEC, **s).predict(variables, data)["class_map"] for s in ({}, settings))
        assert averaged.shape == plain.shape and bool((averaged == plain).all()) == same
    with pytest.raises(ValueError, match="flips = 'sideways' is none of"):
        segment(Echo(), SPEC, flips="sideways")


def test_the_truth_of_fewer_pixels_is_that_of_the_nearest():
    truth = np.arange(2 * 7 * 10).reshape(2, 7, 10)
    for tall, wide in ((7, 10), (4, 5), (3, 4), (1, 1)):
        rows, columns = (np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in ((tall, 7), (wide, 10)))
        found = at_size_of(jnp.zeros((2, tall, wide, 3)), jnp.asarray(truth))
        np.testing.assert_array_equal(found, truth[:, rows][:, :, columns])


def test_a_classifier_is_refused():
    class Classifier(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> Any:
            return nn.Dense(3)(x.mean((1, 2))), {}

    task = segment(Classifier(), SPEC)
    variables = task.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"Classifier gives logits \[3\] for images of \[4, 6\] .* --task=segment"):
        task.loss(variables, batch(), jax.random.key(1), True)
