from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnn_jax.augment.geometry import flip
from cnn_jax.augment.mix import cutmix, mixup, mixup_or_cutmix
from cnn_jax.batch import Batch

COUNT = 2000
PARTNER = np.arange(COUNT) ^ 1
KEYS = jax.random.split(jax.random.key(1), COUNT)


@pytest.fixture
def batch(make_batch) -> Callable[..., Batch]:
    def make(height: int = 6, width: int = 10) -> Batch:
        image = np.random.default_rng(0).random((COUNT, height, width, 1)).astype(np.float32)
        return make_batch({"image": image, "label": np.arange(COUNT, dtype=np.int32)})

    return make


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 4.0])
def test_mixup_weights_follow_the_beta_distribution(batch, alpha: float) -> None:
    weight = np.asarray(jax.jit(partial(mixup, alpha=alpha))(KEYS, batch(1, 1))["mix_weight"], np.float64)
    # float32 puts a draw below 2^-25 on the end itself, which the exact distribution does not know.
    assert stats.kstest(np.clip(weight, 2**-25, 1 - 2**-25), stats.beta(alpha, alpha).cdf).pvalue > 1e-3 or alpha < 0.2
    assert abs(weight.mean() - 0.5) < 0.04
    assert abs(weight.var() - 1 / (4 * (2 * alpha + 1))) < 0.015


def test_mixup_is_linear_in_its_weight(batch) -> None:
    data = batch()
    result = mixup(KEYS, data, alpha=0.5)
    image, weight = np.asarray(data["image"]), np.asarray(result["mix_weight"])[:, None, None, None]
    np.testing.assert_allclose(result["image"], (1 - weight) * image + weight * image[PARTNER], atol=1e-6)
    np.testing.assert_array_equal(result["mixed_label"], PARTNER)
    np.testing.assert_array_equal(result["label"], data["label"])


def test_mixup_takes_signals_too(make_batch) -> None:
    data = make_batch({"sound": jnp.arange(8.0).reshape(2, 4, 1), "label": jnp.arange(2)}, {"sound": "signal"})
    result = mixup(KEYS[:2], data, alpha=1.0)
    np.testing.assert_allclose(result["sound"][0, :, 0], np.arange(4) + 4 * float(result["mix_weight"][0]), atol=1e-5)


def test_cutmix_weight_is_exactly_the_share_of_pasted_pixels(batch) -> None:
    data = batch()
    result = jax.jit(cutmix)(KEYS, data)
    image, mixed = np.asarray(data["image"]), np.asarray(result["image"])
    pasted = (mixed == image[PARTNER])[..., 0]
    assert (pasted | (mixed == image)[..., 0]).all()
    np.testing.assert_allclose(result["mix_weight"], pasted.sum(axis=(1, 2)) / 60, rtol=2e-7)
    rows, columns = pasted.any(axis=2).sum(axis=1), pasted.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(pasted.sum(axis=(1, 2)), rows * columns)  # one box
    assert set(rows) == {0, 1, 2, 3, 4}  # twice the floor of half of less than 6, or what the border leaves


def test_cutmix_boxes_follow_the_paper(batch) -> None:
    """Redo the box from its definition, for many draws in NumPy, and compare the distribution of weights."""
    random = np.random.default_rng(0)
    height, width, draws = 16, 16, 20_000
    side = np.sqrt(1 - random.random(draws))
    cut = (height * side).astype(int) // 2
    row, column = random.integers(height, size=draws), random.integers(width, size=draws)
    tall = np.minimum(row + cut, height) - np.maximum(row - cut, 0)
    wide = np.minimum(column + cut, width) - np.maximum(column - cut, 0)
    expected = tall * wide / (height * width)
    weight = np.asarray(jax.jit(cutmix)(KEYS, batch(height, width))["mix_weight"])
    assert stats.ks_2samp(weight, expected).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_mixup_or_cutmix_is_one_of_the_two(batch, probability: float) -> None:
    data = batch()
    result = jax.jit(partial(mixup_or_cutmix, cutmix_probability=probability))(KEYS, data)
    image, mixed = np.asarray(data["image"]), np.asarray(result["image"])
    weight = np.asarray(result["mix_weight"])[:, None, None, None]
    blended = np.isclose(mixed, (1 - weight) * image + weight * image[PARTNER], atol=1e-6).all(axis=(1, 2, 3))
    pasted = ((mixed == image) | (mixed == image[PARTNER])).all(axis=(1, 2, 3))
    assert (blended | pasted).all()
    share = (pasted & ~blended).mean()  # a box of everything or nothing looks like a blend
    assert (share == 0) if probability == 0 else 0.75 * probability < share < 1.1 * probability


def test_odd_batches_and_wrong_settings_are_refused(batch) -> None:
    odd = jax.tree.map(lambda array: array[:3], batch())
    for mix in (mixup, cutmix, mixup_or_cutmix):
        with pytest.raises(ValueError, match="even batch"):
            mix(KEYS[:3], odd)
        with pytest.raises(ValueError, match="mixed already"):
            mix(KEYS, mixup(KEYS, batch()))
    with pytest.raises(ValueError, match="positive"):
        mixup(KEYS, batch(), alpha=0.0)


def test_many_labels_become_shares_and_each_label_its_partner(make_batch) -> None:
    random = np.random.default_rng(0)
    labels, unknown = random.integers(0, 2, (COUNT, 3)), np.where(random.random(COUNT) < 0.5, -1, 2)
    data = make_batch(
        {"left": random.random((COUNT, 4, 4, 1)), "right": random.random((COUNT, 4, 4, 1)), "tags": labels,
         "kind": np.arange(COUNT), "breed": unknown},
        {"left": "image", "right": "image", "tags": "labels", "kind": "label", "breed": "label"},
    )  # fmt: skip
    for mix in (partial(mixup, alpha=1.0), cutmix, mixup_or_cutmix):
        result = jax.jit(mix)(KEYS, data)
        weight = np.asarray(result["mix_weight"])
        share = weight[:, None]
        np.testing.assert_allclose(result["tags"], (1 - share) * labels + share * labels[PARTNER], atol=1e-6)
        np.testing.assert_array_equal(result["mixed_kind"], PARTNER)
        np.testing.assert_array_equal(result["mixed_breed"], unknown[PARTNER])  # -1 for the task to leave out
        np.testing.assert_array_equal(result["breed"], unknown)
        assert result.fields["mixed_kind"].role == "label"
        assert result.fields["mix_weight"] == ("value", (), "float32", None)
        assert result.fields["tags"].dtype == "float32" and 0.1 < weight.mean() < 0.9
        later = jax.eval_shape(flip, KEYS, result)  # the weight is a value that no move changes
        assert later.fields == result.fields


def test_a_class_map_is_pasted_with_its_image(make_batch) -> None:
    values = np.random.default_rng(0).integers(0, 250, (COUNT, 6, 10)).astype(np.uint8)
    data = make_batch({"image": values[..., None].astype(np.float32), "class_map": values}, range=None)
    result = jax.jit(cutmix)(KEYS, data)
    np.testing.assert_array_equal(result["image"][..., 0], result["class_map"])
    assert (np.asarray(result["class_map"]) != values).any() and result["class_map"].dtype == np.uint8
    for mix in (mixup, mixup_or_cutmix):
        with pytest.raises(ValueError, match=r"^mixup cannot mix 'class_map' \(class_map\)$"):
            mix(KEYS, data)
