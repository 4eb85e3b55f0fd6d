"""Classification against its formulas in NumPy, with a linear model whose logits are easily written down."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data.source import Spec
from cnn_jax.tasks.classify import classify

SPEC = Spec("noise", ("a", "b", "c"), (4, 4, 2), "uint8", (0.4, 0.6), (0.2, 0.5), "", "", "0" * 64)
KEY = jax.random.key(0)


class Linear(nn.Module):
    """logits = W x, and a running mean of x as model state."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        seen = self.variable("batch_stats", "seen", lambda: jnp.zeros(()))
        if train:
            seen.value = seen.value + x.mean()
        return nn.Dense(3, use_bias=False)(x.reshape(len(x), -1)), {}


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    mask = np.array([1, 1, 0, 1, 1, 0], np.float32)
    labels = np.array([0, 1, 2, 2, 0, 1], np.int32)
    return {"image": draw.integers(256, size=(6, 4, 4, 2)).astype(np.uint8), "label": labels, "mask": mask}


def variables() -> Any:
    return classify(Linear(), SPEC).init(KEY)


def logits_of(images: np.ndarray) -> np.ndarray:
    """By the definition: bytes / 255, minus mean, over std, times the kernel."""
    x = (images / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    kernel = np.asarray(variables()["params"]["Dense_0"]["kernel"], np.float64)
    return x.reshape(len(x), -1) @ kernel


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -(target * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_loss_is_the_masked_cross_entropy(smoothing: float, mixed: bool, batch: dict[str, np.ndarray]) -> None:
    target = np.eye(3)[batch["label"]]
    if mixed:
        other, weight = np.array([1, 1, 0, 0, 2, 2], np.int32), np.array([0.3, 0.5, 0.2, 0, 1, 0.7], np.float32)
        batch |= {"mix_label": other, "mix_weight": weight}
        target = (1 - weight[:, None]) * target + weight[:, None] * np.eye(3)[other]
    target = (1 - smoothing) * target + smoothing / 3
    logits, mask = logits_of(batch["image"]), batch["mask"]
    losses = cross_entropy(logits, target)

    mean, _, sums = classify(Linear(), SPEC, label_smoothing=smoothing).loss(variables(), batch, KEY, True)
    np.testing.assert_allclose(sums["loss"], losses[mask > 0].sum(), rtol=1e-5)
    np.testing.assert_allclose(mean, losses[mask > 0].mean(), rtol=1e-5)
    assert sums["count"] == 4
    assert sums["top1"] == (logits.argmax(-1) == batch["label"])[mask > 0].sum()


def test_model_state_moves_in_training_only(batch: dict[str, np.ndarray]) -> None:
    task, before = classify(Linear(), SPEC), variables()
    x = (batch["image"] / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    _, state, _ = task.loss(before, batch, KEY, True)
    np.testing.assert_allclose(state["batch_stats"]["seen"], x.mean(), rtol=1e-4)
    assert not task.loss(before, batch, KEY, False)[1]
    assert before["batch_stats"]["seen"] == 0


def test_a_batch_of_padding_has_no_loss(batch: dict[str, np.ndarray]) -> None:
    mean, _, sums = classify(Linear(), SPEC).loss(variables(), {**batch, "mask": np.zeros(6, np.float32)}, KEY, True)
    assert mean == 0 and sums["count"] == 0


def test_predictions_are_the_logits_for_bytes_and_for_floats(batch: dict[str, np.ndarray]) -> None:
    task, expected = classify(Linear(), SPEC), logits_of(batch["image"])
    for image in (batch["image"], (batch["image"] / 255).astype(np.float32)):
        found = task.predict(variables(), {"image": jnp.asarray(image)})["logits"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_flip_test_is_the_mean_over_the_image_and_its_mirror(batch: dict[str, np.ndarray]) -> None:
    expected = (logits_of(batch["image"]) + logits_of(batch["image"][:, :, ::-1])) / 2
    task = classify(Linear(), SPEC, flip_test=True)
    found = task.predict(variables(), {"image": jnp.asarray(batch["image"])})["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected, logits_of(batch["image"]), atol=1e-2)


def test_scores_know_accuracy_and_confusion_by_class_name() -> None:
    logits = np.array([[2.0, 0, 0], [0, 1, 0], [0, 3, 0], [0, 0, 1]])
    labels = np.array([0, 1, 2, 2])
    task = classify(Linear(), SPEC)
    scores = task.scores({"logits": logits}, labels)
    assert scores[task.headline] == 0.75
    assert scores["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert scores["per_class"]["c"]["accuracy"] == 0.5
    assert scores["nll"] == pytest.approx(cross_entropy(logits, np.eye(3)[labels]).mean(), rel=1e-6)
