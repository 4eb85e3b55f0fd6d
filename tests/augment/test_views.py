from functools import partial

import jax
import numpy as np
import pytest

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.augment.mix import mixup
from cnn_jax.augment.signal import shift1d
from cnn_jax.augment.views import two_views
from cnn_jax.batch import Batch
from cnn_jax.lookup import describe, lookup

COUNT = 64


@pytest.fixture
def data(make_batch) -> Batch:
    random = np.random.default_rng(0)
    return make_batch(
        {
            "photo": random.random((COUNT, 4, 6, 1)).astype(np.float32),
            "words": random.integers(0, 9, (COUNT, 5)),
            "classes": random.integers(0, 9, (COUNT, 4, 6)).astype(np.uint8),
            "kind": np.arange(COUNT),
        },
        {"photo": "image", "words": "tokens", "classes": "class_map", "kind": "label"},
    )


def mirrored(view: jax.Array, original: jax.Array) -> np.ndarray:
    """Which examples [B] were flipped, after checking that the others were left."""
    turned = (np.asarray(view) == np.asarray(original)[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (turned | (np.asarray(view) == np.asarray(original)).all(axis=(1, 2, 3))).all()
    return turned


def test_each_input_gets_a_second_view_drawn_on_its_own(data: Batch, keys) -> None:
    result = jax.jit(partial(two_views, first=flip, second=flip))(keys(COUNT), data)
    assert result.keys() == data.keys() | {"second_photo", "second_words"}
    assert result.fields["second_photo"] == data.fields["photo"] and result.fields["second_words"].role == "tokens"
    one, two = mirrored(result["photo"], data["photo"]), mirrored(result["second_photo"], data["photo"])
    for chosen in (one, two, one ^ two):
        assert 0.25 < chosen.mean() < 0.75
    np.testing.assert_array_equal(result["second_words"], data["words"])
    np.testing.assert_array_equal(result["kind"], data["kind"])


def test_targets_go_with_the_first_view(data: Batch, keys) -> None:
    result = two_views(keys(COUNT), data, second=partial(flip, probability=1.0))
    np.testing.assert_array_equal(result["classes"], data["classes"])
    np.testing.assert_array_equal(result["second_photo"], data["photo"][:, :, ::-1])
    result = two_views(keys(COUNT), data, first=partial(flip, probability=1.0))
    np.testing.assert_array_equal(result["classes"], data["classes"][:, :, ::-1])
    np.testing.assert_array_equal(result["second_photo"], data["photo"])


def test_the_second_view_may_move_what_a_target_forbids(make_batch, keys) -> None:
    data = make_batch({"image": np.zeros((2, 4, 4, 1), np.float32), "value": np.zeros(2)})
    assert "second_image" in two_views(keys(2), data, second=flip)
    with pytest.raises(ValueError, match="flip cannot move 'value'"):
        two_views(keys(2), data, first=flip)


def test_signals_have_views_and_later_augmentations_see_both(make_batch, keys) -> None:
    data = make_batch({"sound": np.random.default_rng(0).normal(size=(8, 9, 1))}, {"sound": "signal"})
    result = compose(two_views, shift1d)(keys(8), data)
    np.testing.assert_array_equal(result["sound"], result["second_sound"])
    assert (result["sound"] != data["sound"]).any()


def test_what_makes_no_second_view_is_refused(data: Batch, make_batch, keys) -> None:
    with pytest.raises(ValueError, match="^two_views: 'photo' has a second view already$"):
        compose(two_views, two_views)(keys(COUNT), data)
    with pytest.raises(ValueError, match="^two_views: the second view may change inputs only in value"):
        two_views(keys(COUNT), make_batch({"image": data["photo"]}), second=mixup)
    with pytest.raises(ValueError, match=r"^two_views needs a field of the role .*; the batch has label \(label\)$"):
        two_views(keys(COUNT), make_batch({"label": data["kind"]}))


def test_it_can_be_written_on_the_command_line(data: Batch, keys) -> None:
    flips, shifts = "compose.compose(cnn_jax.augment.geometry.flip)", "geometry.shift(pixels=2)"
    found = lookup(f"cnn_jax.augment.views.two_views(first=cnn_jax.augment.{flips}, second=cnn_jax.augment.{shifts})")
    assert isinstance(found, partial) and found.func is two_views
    text = describe(found)
    assert text == (
        "cnn_jax.augment.views.two_views("
        "first=cnn_jax.augment.compose.apply_all(stages=(cnn_jax.augment.geometry.flip,)), "
        "second=cnn_jax.augment.geometry.shift(pixels=2))"
    )
    expected = two_views(keys(COUNT), data, first=compose(flip), second=partial(shift, pixels=2))
    for name, array in lookup(text)(keys(COUNT), data).items():
        np.testing.assert_array_equal(array, expected[name])
