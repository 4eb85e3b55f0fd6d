"""Classification against its formulas in NumPy, with a linear model whose logits are easily written down."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.batch import Batch
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import INDEX, VALID, Field, Spec
from cnn_jax.evals.evaluator import plain
from cnn_jax.tasks.classify import classify

SPEC = Spec(
    name="noise",
    classes=("a", "b", "c"),
    inputs={"image": Field("image", (4, 4, 2), "uint8")},
    targets={"label": Field("label", (), "int32")},
    prepare=ImagePrepare(mean=(0.4, 0.6), std=(0.2, 0.5)),
    licence="",
    citation="",
    fingerprint="0" * 64,
)
KEY = jax.random.key(0)


class Linear(nn.Module):
    """logits = W x, and a running mean of x as model state."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        seen = self.variable("batch_stats", "seen", lambda: jnp.zeros(()))
        if train:
            seen.value = seen.value + x.mean()
        return nn.Dense(3, use_bias=False)(x.reshape(len(x), -1)), {}


class Words(nn.Module):
    """logits = the mean of a row of three for each token."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        assert jnp.issubdtype(x.dtype, jnp.integer)
        return nn.Embed(256, 3)(x).mean(1), {}


@pytest.fixture
def batch() -> Batch:
    draw = np.random.default_rng(0)
    arrays = {
        "image": draw.integers(256, size=(6, 4, 4, 2)).astype(np.uint8),
        "label": np.array([0, 1, 2, 2, 0, 1], np.int32),
        VALID: np.array([1, 1, 0, 1, 1, 0], np.float32),
    }
    return Batch(arrays, SPEC.fields)


def variables() -> Any:
    return classify(Linear(), SPEC).init(KEY)


def logits_of(images: np.ndarray) -> np.ndarray:
    """By the definition: bytes / 255, minus mean, over std, times the kernel."""
    x = (images / 255 - np.array(SPEC.prepare.mean)) / np.array(SPEC.prepare.std)
    kernel = np.asarray(variables()["params"]["Dense_0"]["kernel"], np.float64)
    return x.reshape(len(x), -1) @ kernel


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -(target * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("weights", [(), (0.5, 1.0, 3.0)])
def test_loss_is_the_cross_entropy_of_what_is_valid_and_known(smoothing, mixed, unknown, weights, batch: Batch) -> None:
    counts = np.asarray(batch[VALID]) > 0
    label = np.asarray(batch["label"])
    weight_of = np.array(weights or (1, 1, 1))
    if unknown:
        batch |= {"label": np.array([0, -1, 2, 2, 0, -1], np.int32)}
        counts &= batch["label"] >= 0
    if mixed:
        other, weight = np.array([1, 1, 0, 0, 2, 2], np.int32), np.array([0.3, 0.5, 0.2, 0, 1, 0.7], np.float32)
        batch |= {"mixed_label": other, "mix_weight": weight}
    logits = logits_of(batch["image"])

    def smoothed(label: np.ndarray) -> np.ndarray:
        return cross_entropy(logits, (1 - smoothing) * np.eye(3)[label] + smoothing / 3)

    losses = weight_of[label] * smoothed(label)
    if mixed:
        losses = (1 - weight) * losses + weight * weight_of[other] * smoothed(other)

    task = classify(Linear(), SPEC, label_smoothing=smoothing, class_weights=weights)
    mean, _, sums = task.loss(variables(), batch, KEY, True)
    assert sums.keys() == {"loss", "top1"}
    np.testing.assert_allclose(sums["loss"][0], losses[counts].sum(), rtol=1e-5)
    np.testing.assert_allclose(mean, losses[counts].mean(), rtol=1e-5)
    assert sums["loss"][1] == sums["top1"][1] == counts.sum() == (3 if unknown else 4)
    assert sums["top1"][0] == (logits.argmax(-1) == batch["label"])[counts].sum()


def test_scores_and_the_loss_of_evaluation_count_every_example_alike(batch: Batch) -> None:
    weighted, plain = (classify(Linear(), SPEC, class_weights=weights) for weights in ((0.5, 1.0, 3.0), ()))
    found, expected = (task.loss(variables(), batch, KEY, False) for task in (weighted, plain))
    assert found[0] == expected[0] and found[2] == expected[2]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, 2.0), "class_weights has 2 numbers, there are 3 classes"),
        ((1.0, 0.0, 2.0), "must be positive numbers"),
        ((1.0, float("inf"), 2.0), "must be positive numbers"),
        (("a", "b", "c"), "must be positive numbers"),
    ],
)
def test_class_weights_that_fit_no_data_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classify(Linear(), SPEC, class_weights=weights)


def test_what_is_unknown_or_not_valid_moves_no_weight(batch: Batch) -> None:
    batch |= {"label": np.array([0, -1, 2, 2, 0, -1], np.int32)}
    task = classify(Linear(), SPEC, label_smoothing=0.1)

    def gradient(batch: Batch) -> jax.Array:
        state = variables()
        loss = jax.grad(lambda params: task.loss({**state, "params": params}, batch, KEY, False)[0])
        return loss(state["params"])["Dense_0"]["kernel"]

    images = np.array(batch["image"])
    images[[1, 2, 5]] = 77
    np.testing.assert_array_equal(gradient(batch), gradient(batch | {"image": images}))
    images[0] = 77
    assert (gradient(batch) != gradient(batch | {"image": images})).any()


def test_mixed_labels_go_by_the_name_of_the_target(batch: Batch) -> None:
    spec = dataclasses.replace(SPEC, targets={"kind": SPEC.targets["label"]})
    arrays = {"image": batch["image"], "kind": batch["label"], VALID: batch[VALID]}
    named = Batch(
        {**arrays, "mixed_kind": batch["label"][::-1], "mix_weight": np.full(6, 0.3, np.float32)}, spec.fields
    )
    own = batch | {"mixed_label": batch["label"][::-1], "mix_weight": np.full(6, 0.3, np.float32)}
    found = classify(Linear(), spec).loss(variables(), named, KEY, True)[0]
    assert found == classify(Linear(), SPEC).loss(variables(), own, KEY, True)[0]


def test_model_state_moves_in_training_only(batch: Batch) -> None:
    task, before = classify(Linear(), SPEC), variables()
    x = (batch["image"] / 255 - np.array(SPEC.prepare.mean)) / np.array(SPEC.prepare.std)
    _, state, _ = task.loss(before, batch, KEY, True)
    np.testing.assert_allclose(state["batch_stats"]["seen"], x.mean(), rtol=1e-4)
    assert not task.loss(before, batch, KEY, False)[1]
    assert before["batch_stats"]["seen"] == 0


def test_a_batch_of_padding_has_no_loss(batch: Batch) -> None:
    nothing = batch | {VALID: np.zeros(6, np.float32)}
    mean, _, sums = classify(Linear(), SPEC).loss(variables(), nothing, KEY, True)
    assert mean == 0 and sums["loss"][1] == 0
    unknown = batch | {"label": np.full(6, -1, np.int32)}
    assert classify(Linear(), SPEC).loss(variables(), unknown, KEY, True)[0] == 0


def test_predictions_are_the_logits_for_bytes_and_for_floats(batch: Batch) -> None:
    task, expected = classify(Linear(), SPEC), logits_of(batch["image"])
    for image in (batch["image"], (batch["image"] / 255).astype(np.float32)):
        found = task.predict(variables(), batch | {"image": jnp.asarray(image)})["logits"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_flip_test_is_the_mean_over_the_image_and_its_mirror(batch: Batch) -> None:
    expected = (logits_of(batch["image"]) + logits_of(batch["image"][:, :, ::-1])) / 2
    task = classify(Linear(), SPEC, flip_test=True)
    found = task.predict(variables(), batch)["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected, logits_of(batch["image"]), atol=1e-2)


def test_signals_are_classified_too() -> None:
    field = Field("signal", (5, 2), "float32", (-3.0, 3.0))
    spec = dataclasses.replace(SPEC, inputs={"sound": field})
    signals = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    labels = np.array([0, 1, 2, -1], np.int32)
    batch = Batch({"sound": signals, "label": labels, VALID: np.ones(4, np.float32)}, spec.fields)
    task = classify(Linear(), spec)
    state = task.init(KEY)
    x = (signals - np.array(SPEC.prepare.mean)) / np.array(SPEC.prepare.std)
    logits = x.reshape(4, -1) @ np.asarray(state["params"]["Dense_0"]["kernel"], np.float64)
    np.testing.assert_allclose(task.predict(state, batch)["logits"], logits, rtol=1e-4, atol=1e-5)
    expected = cross_entropy(logits[:3], np.eye(3)).mean()
    np.testing.assert_allclose(task.loss(state, batch, KEY, True)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_texts_are_classified_too(dtype: str) -> None:
    spec = dataclasses.replace(SPEC, inputs={"text": Field("tokens", (6,), dtype)}, prepare=ImagePrepare())
    tokens = np.random.default_rng(0).integers(256, size=(4, 6)).astype(dtype)
    batch = Batch({"text": tokens, "label": np.array([0, 1, 2, -1], np.int32), VALID: np.ones(4)}, spec.fields)
    task = classify(Words(), spec)
    state = task.init(KEY)
    logits = np.asarray(state["params"]["Embed_0"]["embedding"], np.float64)[tokens].mean(1)
    np.testing.assert_allclose(task.predict(state, batch)["logits"], logits, rtol=1e-4, atol=1e-6)
    expected = cross_entropy(logits[:3], np.eye(3)).mean()
    np.testing.assert_allclose(task.loss(state, batch, KEY, True)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("views", [{"flip_test": True}, {"shift_test": 2}])
def test_only_images_have_views(views: dict[str, Any]) -> None:
    spec = dataclasses.replace(SPEC, inputs={"sound": Field("signal", (5, 2), "float32")})
    with pytest.raises(ValueError, match="are for images; the data has inputs of the role 'signal'"):
        classify(Linear(), spec, **views)


def test_data_without_one_label_is_refused() -> None:
    for targets, count in (({}, 0), ({"a": SPEC.targets["label"], "b": SPEC.targets["label"]}, 2)):
        with pytest.raises(ValueError, match=f"role 'label' is needed, the data has {count}"):
            classify(Linear(), dataclasses.replace(SPEC, targets=targets))


def test_the_evaluator_knows_the_classes_and_the_target() -> None:
    logits = np.array([[2.0, 0, 0], [0, 1, 0], [0, 3, 0], [0, 0, 1]])
    labels = np.array([0, 1, 2, 2])
    task = classify(Linear(), dataclasses.replace(SPEC, targets={"kind": SPEC.targets["label"]}))
    scored, batch = task.evaluator, {"kind": labels, INDEX: np.arange(4)}
    scores = scored.finish(scored.add(scored.start(), {"logits": logits}, batch))
    assert plain(scores)[task.headline] == 0.75
    assert scores.tables["confusion"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert scores.tables["recall"].tolist() == [1, 1, 0.5]
    assert plain(scores)["nll"] == pytest.approx(cross_entropy(logits, np.eye(3)[labels]).mean(), rel=1e-6)
    assert (task.report, task.whole_batch) == ("classify", False)
